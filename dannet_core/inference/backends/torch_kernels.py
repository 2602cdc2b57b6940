"""What comes before and after the network by the project's own kernels, in torch's memory and torch's stream."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from dannet_core.errors import BackendError
from dannet_core.inference.backends.driver_kernels import Launcher
from dannet_core.inference.backends.frame_slot import OUTPUT_KINDS
from dannet_core.inference.backends.torch_frame import TorchFrame, copy_to_device
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.frame import EXTRA_OUTPUTS, FrameRequest
from dannet_core.inference.kernels.jobs import (
    CameraFormat,
    CameraLaunch,
    LabelLaunch,
    Tables,
    camera_launch,
    label_launch,
)
from dannet_core.inference.presets import PRESETS
from dannet_core.metadata import ModelMetadata
from dannet_core.pixels import IMAGENET_STD

PLANS_KEPT: Final = 16
AGREEMENT: Final = 0.99
"""Least share of equal labels between kernels and torch operations on noise, where classes lie close together."""


class Uploaded(NamedTuple):
    """A camera picture on the device.

    Attributes:
        data: its bytes, as the camera sent them.
        camera: what they mean.
        not_finite: (1,) int32, for the kernels; see `CameraLaunch.job`.
    """

    data: Any
    camera: CameraFormat
    not_finite: Any


class KernelFrame:
    """Both ends of a frame, two launches; takes the place of `TorchFrame`, and every encoding as it is."""

    def __init__(self, torch: Any, metadata: ModelMetadata, device: str, launcher: Launcher, *, half: bool) -> None:
        """Tell it where to work.

        Args:
            torch: the module.
            metadata: of the model.
            device: of the tensors, the launcher's.
            launcher: of the kernels, in torch's current stream.
            half: write the network's input in float16 instead of float32.
        """
        self._torch = torch
        self._metadata = metadata
        self._device = device
        self._launcher = launcher
        self._half = half
        self._plans: dict[Any, tuple[Any, dict[str, Any]]] = {}

    def upload(self, camera: CameraImage, staging: Any = None) -> Uploaded:
        """See `TorchFrame.upload`; nothing is decoded yet."""
        data = copy_to_device(self._torch, camera, self._device, staging)
        camera_format = CameraFormat(camera.height, camera.width, camera.step, camera.encoding)
        return Uploaded(data, camera_format, self._torch.empty(1, dtype=self._torch.int32, device=self._device))

    def preprocess(self, picture: Uploaded, request: FrameRequest) -> Any:
        """The picture to 1 x 3 x h x w, float16 or float32, as `dannet_core.inference.preprocess`."""
        kind = self._torch.float16 if self._half else self._torch.float32
        network = self._torch.empty((1, 3, *request.input_size), dtype=kind, device=self._device)
        launch, tables = self._camera_plan(picture.camera, request)
        flag = picture.not_finite.data_ptr()
        job = launch.job(picture.data.data_ptr(), network.data_ptr(), _addresses(tables), flag)
        self._launcher.launch("camera_to_network", bytes(job), launch.grid, launch.shared_bytes)
        return network

    def postprocess(self, logits: Any, picture: Uploaded, request: FrameRequest) -> dict[str, Any]:
        """See `TorchFrame.postprocess`."""
        torch = self._torch
        half = logits.dtype == torch.float16
        # bfloat16 is nothing that the kernel reads; in channels_last the classes lie last.
        planes = logits.to(torch.float16 if half else torch.float32).contiguous()
        launch, tables = self._label_plan(picture.camera, tuple(planes.shape), half, request)
        outputs = {name: self._output(name, picture.camera) for name in ("labels", *sorted(request.outputs))}
        job = launch.job(
            picture.data.data_ptr(),
            planes.data_ptr(),
            _addresses(tables),
            {"not_finite": picture.not_finite.data_ptr()} | _addresses(outputs),
            request.settings.min_confidence,
            request.alpha,
        )
        self._launcher.launch("logits_to_outputs", bytes(job), launch.grid, launch.shared_bytes)
        return outputs | {"finite": picture.not_finite == 0}

    def close(self) -> None:
        """Give tables and kernels back; calling it twice is harmless."""
        self._plans.clear()
        self._launcher.close()

    def _output(self, name: str, camera: CameraFormat) -> Any:
        kind, channels = OUTPUT_KINDS[name]
        shape = (camera.height, camera.width) if channels == 1 else (camera.height, camera.width, channels)
        dtype = self._torch.uint8 if kind is np.uint8 else self._torch.float32
        return self._torch.empty(shape, dtype=dtype, device=self._device)

    def _camera_plan(self, camera: CameraFormat, request: FrameRequest) -> tuple[CameraLaunch, dict[str, Any]]:
        key = (camera, request.input_size, request.settings.resize)
        if key not in self._plans:
            launch = camera_launch(camera, request.input_size, self._half, request.settings.resize)
            self._keep(key, launch, launch.tables)
        return self._plans[key]

    def _label_plan(
        self, camera: CameraFormat, shape: tuple[int, int, int], half: bool, request: FrameRequest
    ) -> tuple[LabelLaunch, dict[str, Any]]:
        settings = request.settings
        key = (camera, shape, half, settings.reweight, settings.reweight_std)
        if key not in self._plans:
            align_corners, colormap = self._metadata.align_corners, self._metadata.classes.colormap
            launch = label_launch(camera, shape, half, align_corners, colormap)
            scaling = request.scaling(self._metadata)
            self._keep(key, launch, {**launch.tables, "factor": scaling.factor, "offset": scaling.offset})
        return self._plans[key]

    def _keep(self, key: Any, launch: Any, tables: Tables) -> None:
        while len(self._plans) >= PLANS_KEPT:
            self._plans.pop(next(iter(self._plans)))
        on_device = {
            name: self._torch.from_numpy(np.ascontiguousarray(values)).to(self._device)
            for name, values in tables.items()
        }
        self._plans[key] = (launch, on_device)


def check_agreement(torch: Any, kernels: KernelFrame, operations: TorchFrame, metadata: ModelMetadata) -> None:
    """Compare both ways on a small picture: what compiled and ran may still compute something else on this GPU.

    Raises:
        BackendError: they differ by more than rounding.
    """
    rng = np.random.default_rng(0)
    camera = CameraImage.from_rgb(rng.integers(0, 256, (120, 200, 3), dtype=np.uint8))
    logits = torch.from_numpy(rng.normal(0, 4, (metadata.num_classes, 9, 14)).astype(np.float32))
    outputs = frozenset() if metadata.absent.get("confidence") else frozenset(EXTRA_OUTPUTS)
    request = FrameRequest(PRESETS["paper"], (64, 96), outputs)
    made = []
    for way in (kernels, operations):
        picture = way.upload(camera)
        image = way.preprocess(picture, request).float().cpu().numpy()
        on_device = logits.to(picture.data.device if isinstance(picture, Uploaded) else picture.device)
        made.append((image, {n: t.cpu().numpy() for n, t in way.postprocess(on_device, picture, request).items()}))
    (ours, mine), (theirs, reference) = made
    bytes_off = float((np.abs(ours - theirs) * (IMAGENET_STD * 255)[:, None, None]).max())
    equal = float((mine["labels"] == reference["labels"]).mean())
    if not (bytes_off <= 1.5 and equal >= AGREEMENT and mine["finite"][0]):
        raise BackendError(
            f"the kernels differ from torch operations: {bytes_off:.3g} of 255 in the picture, "
            f"{equal:.1%} of labels equal"
        )


def _addresses(tensors: dict[str, Any]) -> dict[str, int]:
    return {name: tensor.data_ptr() for name, tensor in tensors.items()}
