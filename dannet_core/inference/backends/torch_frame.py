"""What comes before and after the network as torch operations, on any device; equal to the NumPy paths."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dannet_core.errors import BackendError, require
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.frame import FrameRequest
from dannet_core.inference.postprocess import EXP_FLOOR, LARGEST_SCORE
from dannet_core.inference.taps import Taps, resize_taps
from dannet_core.metadata import ModelMetadata
from dannet_core.pixels import IMAGENET_MEAN, IMAGENET_STD

CHANNELS: Final = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
"""Encodings that become RGB by picking channels, and their bytes a pixel; the others are decoded on the CPU first."""
TABLES_KEPT: Final = 16


class TorchFrame:
    """Both ends of a frame on one torch device. Look-up tables stay there."""

    def __init__(self, metadata: ModelMetadata, device: str) -> None:
        self._torch: Any = require("torch", "run networks", "pip install 'dannet_ros[train]'")
        self._metadata = metadata
        self._device = device
        self._scale, self._offset = (
            self._table(values)[:, None, None] for values in (1 / (255 * IMAGENET_STD), -IMAGENET_MEAN / IMAGENET_STD)
        )
        self._colors = self._table(metadata.classes.colormap)
        self._tables: dict[Any, Any] = {}

    def upload(self, camera: CameraImage, staging: Any = None) -> Any:
        """A camera picture as H x W x 3 uint8 RGB on the device.

        Args:
            camera: any encoding.
            staging: a pinned uint8 tensor of at least the picture's bytes, to copy without waiting; None = copy now.
        """
        if camera.encoding not in CHANNELS:
            camera = CameraImage.from_rgb(camera.to_rgb())
        on_device = copy_to_device(self._torch, camera, self._device, staging)
        per_pixel = CHANNELS[camera.encoding]
        shape, strides = (camera.height, camera.width, per_pixel), (camera.step, per_pixel, 1)
        # Slices and flips: an index made of a list would be copied from the CPU every time, and waited for.
        pixels = on_device.as_strided(shape, strides)[..., :3]
        if camera.encoding == "mono8":
            return pixels.expand(-1, -1, 3)
        return pixels.flip(-1) if camera.encoding.startswith("bgr") else pixels

    def preprocess(self, rgb: Any, request: FrameRequest) -> Any:
        """H x W x 3 uint8 on the device to 1 x 3 x h x w float32, as `dannet_core.inference.preprocess`."""
        picture = rgb.permute(2, 0, 1).float()
        source, resize = (rgb.shape[0], rgb.shape[1]), request.settings.resize
        if source != request.input_size:
            rows, columns = self._taps(source, request.input_size, resize)
            picture = _filter(picture, 2, *columns)
            if resize == "antialiased" and source[1] != request.input_size[1]:
                picture = _rounded(picture)
            picture = _rounded(_filter(picture, 1, *rows))
        return (picture * self._scale + self._offset)[None]

    def postprocess(self, logits: Any, rgb: Any, request: FrameRequest) -> dict[str, Any]:
        """Stride logits to labels and the requested outputs at the picture's resolution.

        Args:
            logits: K x h x w on the device.
            rgb: H x W x 3 uint8 there.
            request: says which outputs.

        Returns:
            ``labels`` and the requested ones by name, on the device; and ``finite``, (1,) bool, see `FrameResult`.
        """
        torch, size, settings = self._torch, (rgb.shape[0], rgb.shape[1]), request.settings
        factor, offset = self._scaling(request)
        scores = logits.float() * factor + offset
        labels = self._upsample(scores, size).argmax(dim=0).to(torch.uint8)
        outputs = {"labels": labels, "finite": (scores.abs().amax() <= LARGEST_SCORE)[None]}  # False for NaN too
        if settings.min_confidence > 0 or request.outputs & {"confidence", "confidence_bytes"}:
            shifted = (scores - scores.amax(dim=0)).clamp_(min=EXP_FLOOR)
            likelihoods = self._upsample(shifted, size).exp_()
            confidence = likelihoods.amax(dim=0) / likelihoods.sum(dim=0)
            labels.masked_fill_(confidence < settings.min_confidence, 255)
            outputs |= {"confidence": confidence, "confidence_bytes": _rounded(confidence * 255).to(torch.uint8)}
        if request.outputs & {"color", "overlay"}:
            color = self._colors[labels.long()]
            mixed = torch.lerp(rgb.float(), color.float(), request.alpha) if "overlay" in request.outputs else color
            outputs |= {"color": color, "overlay": mixed.round().to(torch.uint8)}
        return {name: outputs[name] for name in ("labels", "finite", *sorted(request.outputs))}

    def _upsample(self, planes: Any, size: tuple[int, int]) -> Any:
        functional = self._torch.nn.functional
        align_corners = self._metadata.align_corners
        return functional.interpolate(planes[None], size=size, mode="bilinear", align_corners=align_corners)[0]

    def _scaling(self, request: FrameRequest) -> tuple[Any, Any]:
        settings = request.settings
        key = ("scaling", settings.reweight, settings.reweight_std)
        if key not in self._tables:
            self._keep(key, tuple(self._table(one)[:, None, None] for one in request.scaling(self._metadata)))
        kept: tuple[Any, Any] = self._tables[key]
        return kept

    def _taps(self, source: tuple[int, int], target: tuple[int, int], resize: str) -> tuple[Any, Any]:
        key = (source, target, resize)
        if key not in self._tables:
            axes = zip(resize_taps(source, target, resize), source, strict=True)
            self._keep(key, tuple(self._indices_and_weights(taps, pixels) for taps, pixels in axes))
        kept: tuple[Any, Any] = self._tables[key]
        return kept

    def _indices_and_weights(self, taps: Taps, pixels: int) -> tuple[Any, Any]:
        indices = taps.first[None] + np.arange(taps.num_taps)[:, None]
        return self._table(np.minimum(indices, pixels - 1).astype(np.int64)), self._table(taps.weights.T)

    def _keep(self, key: Any, value: Any) -> None:
        while len(self._tables) >= TABLES_KEPT:
            self._tables.pop(next(iter(self._tables)))
        self._tables[key] = value

    def _table(self, values: Any) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(values)).to(self._device)


class TorchStride:
    """The network's output of one frame, as a `StrideSource`: it stays on the device until asked for."""

    def __init__(self, logits: Any, relit: Any) -> None:
        self._logits, self._relit = logits, relit

    def logits(self) -> npt.NDArray[np.float32]:
        """K x h x w float32."""
        return np.asarray(self._logits.float().cpu().numpy())

    def relit(self) -> npt.NDArray[np.float32]:
        """3 x H x W float32, ImageNet-normalised."""
        if self._relit is None:
            raise BackendError("relit: not kept: call segment(rgb, with_relit=True)")
        return np.asarray(self._relit.float().cpu().numpy())


def copy_to_device(torch: Any, camera: CameraImage, device: str, staging: Any = None) -> Any:
    """A camera's bytes, and behind them the table of its samples if it has one, as a flat uint8 tensor on the device.

    See `TorchFrame.upload`.
    """
    arrays = [camera.data[: camera.num_bytes], *([] if camera.table is None else [camera.table])]
    parts = [torch.from_numpy(_writable(array)) for array in arrays]
    if staging is None:
        return (torch.cat(parts) if len(parts) > 1 else parts[0]).to(device)
    end = 0
    for part in parts:
        start, end = end, end + part.numel()
        staging[start:end].copy_(part)
    return staging[:end].to(device, non_blocking=True)


def _filter(picture: Any, axis: int, indices: Any, weights: Any) -> Any:
    """Weighted sum of shifted picks: a filter has two to eight taps, so this stays a handful of operations."""
    shape = [1, 1, 1]
    shape[axis] = -1
    total = None
    for index, weight in zip(indices, weights, strict=True):
        part = picture.index_select(axis, index) * weight.reshape(shape)
        total = part if total is None else total + part
    return total


def _rounded(values: Any) -> Any:
    return (values + 0.5).floor_()


class _Writable:
    """The same memory without NumPy's read-only mark, which torch warns about; nothing here writes to it.

    An array made of it keeps it, and with it the memory's owner: a picture decoded here has no other.
    """

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self._owner = data
        address, _ = data.__array_interface__["data"]
        self.__array_interface__ = data.__array_interface__ | {"data": (address, False)}


def _writable(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return data if data.flags.writeable else np.asarray(_Writable(data))
