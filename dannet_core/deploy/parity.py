"""Does the deployed graph say what the network says? Compared on labels, with stated tolerances."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dannet_core.classes import reweighting_vector
from dannet_core.deploy.finite_graph import NamedFrame, is_finite, numbered, refuse_first_node, with_hard_frames
from dannet_core.deploy.onnx_export import INPUT_NAME, prepare
from dannet_core.deploy.seeded_picture import seeded_picture
from dannet_core.errors import DannetError, NotFiniteError, SettingsError, require
from dannet_core.inference.backends.onnxruntime import OnnxRuntimeBackend
from dannet_core.inference.postprocess import class_scaling, scale_logits, upsample_labels
from dannet_core.inference.preprocess import preprocess
from dannet_core.inference.presets import InferenceSettings
from dannet_core.metadata import ModelMetadata
from dannet_core.networks import DANNet
from dannet_core.networks.dannet import upsample

TEST_TIME_STD: Final = 0.16
LABEL_AGREEMENT: Final[dict[str, float]] = {"fp32": 0.9999, "fp16": 0.995}
"""Smallest share of pixels with equal labels, by the graph's precision."""
HALF_LIMIT: Final = 65504 / 2
"""Half of fp16's largest number: other frames than those looked at may go further."""


class ParityReport(NamedTuple):
    """How far a graph is from the network it was exported from, over all frames.

    Attributes:
        max_abs: largest difference of two stride logits.
        max_rel_of_range: the same as a share of the range (largest - smallest) of the network's stride logits.
        label_agreement: share of input pixels with equal labels, 0..1.
        relit_max_abs: largest difference in the relit image, in normalised units (1 is about 57 of 255 levels); 0 where
            there is none.
        precision: of the graph.
    """

    max_abs: float
    max_rel_of_range: float
    label_agreement: float
    relit_max_abs: float
    precision: str


def check_parity(net: DANNet, onnx_path: str | Path, frames: Sequence[npt.NDArray[np.float32]]) -> ParityReport:
    """Run the network and its exported graph on the same frames, on the CPU.

    Labels are the argmax of the re-weighted stride logits (std 0.16) after bilinear upsampling with
    the network's ``align_corners`` to the input size.

    Args:
        net: in eval mode, on the CPU.
        onnx_path: written by `export_onnx`.
        frames: each 1 x 3 x H x W float32 ImageNet-normalised RGB of the graph's input size.

    Raises:
        SettingsError: no frames, or the network is in training mode.
        NotFiniteError: the network or the graph gives NaN or infinity on a frame.
        ModelFileError, BackendError, MissingPackageError: the graph does not open or run.
    """
    _check_frames(net, frames)
    backend = OnnxRuntimeBackend(Path(onnx_path), device="cpu")
    weights = torch.from_numpy(reweighting_vector(backend.metadata.class_shares, TEST_TIME_STD))[:, None, None]
    low, high, max_abs, relit_max_abs, equal = np.inf, -np.inf, 0.0, 0.0, 0.0
    for named in numbered(frames):
        frame = named.image
        relit, logits = _run_network(net, named)
        deployed = backend.infer(frame, with_relit=True)
        theirs_relit = relit[0].numpy() if deployed.relit is None else deployed.relit
        if not (is_finite(deployed.logits) and is_finite(theirs_relit)):
            refuse_first_node(Path(onnx_path).read_bytes(), str(onnx_path), named)
        theirs = torch.from_numpy(deployed.logits)[None]
        low, high = min(low, float(logits.min())), max(high, float(logits.max()))
        max_abs = max(max_abs, float((logits - theirs).abs().max()))
        relit_max_abs = max(relit_max_abs, float(np.abs(relit[0].numpy() - theirs_relit).max()))
        size = (frame.shape[-2], frame.shape[-1])
        ours, deployed_labels = (_labels(one * weights, size, net.align_corners) for one in (logits, theirs))
        same = ours == deployed_labels
        equal += float(same.float().mean())
    backend.close()
    return ParityReport(
        max_abs=max_abs,
        max_rel_of_range=max_abs / max(high - low, np.finfo(np.float32).tiny),
        label_agreement=equal / len(frames),
        relit_max_abs=relit_max_abs,
        precision=backend.metadata.precision,
    )


def check_label_parity(
    net: DANNet, onnx_path: str | Path, frames: Sequence[npt.NDArray[np.float32]], settings: InferenceSettings
) -> ParityReport:
    """Like `check_parity` for a graph that gives labels: against the network's logits, made labels by this package.

    Args:
        net: in eval mode, on the CPU.
        onnx_path: written by `export_onnx` with output ``labels``.
        frames: as in `check_parity`.
        settings: the graph's re-weighting.

    Returns:
        label agreement; the largest differences are NaN.

    Raises:
        SettingsError: no frames, or the network is in training mode.
        NotFiniteError: the network gives NaN or infinity on a frame.
        MissingPackageError: onnxruntime is not installed.
    """
    _check_frames(net, frames)
    runtime = require("onnxruntime", "run .onnx models", "pip install onnxruntime")
    session = runtime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    metadata = ModelMetadata.from_strings(session.get_modelmeta().custom_metadata_map, str(onnx_path))
    scaling = class_scaling(settings.reweight, metadata.class_shares, settings.reweight_std)
    equal = 0.0
    for named in numbered(frames):
        _, logits = _run_network(net, named)
        (labels,) = session.run(None, {INPUT_NAME: named.image})
        size = (labels.shape[-2], labels.shape[-1])
        scores = scale_logits(logits[0].numpy(), scaling)
        equal += float((upsample_labels(scores, size, net.align_corners) == labels[0]).mean())
    unknown = float("nan")
    return ParityReport(unknown, unknown, equal / len(frames), unknown, metadata.precision)


def largest_activation(net: DANNet, frames: Sequence[npt.NDArray[np.float32]]) -> tuple[str, float]:
    """The largest absolute value that any layer of the deployed network puts out on the frames, and the layer's name.

    Runtimes may compute fp16 graphs in float32 where they have no half kernels, so that parity alone would not show an
    overflow.
    """
    largest: dict[str, float] = {}

    def watch(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def note(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            value = float(output.abs().max())
            largest[name] = max(largest.get(name, 0.0), value if value == value else math.inf)  # NaN, too, is no half

        return note

    prepared = prepare(net, "fp32")
    for name, module in prepared.named_modules():
        if not list(module.children()):
            module.register_forward_hook(watch(name))
    with torch.inference_mode():
        for frame in frames:
            prepared.at_stride(torch.from_numpy(frame))
    name = max(largest, key=largest.__getitem__)
    return name, largest[name]


def require_half_range(net: DANNet, frames: Sequence[npt.NDArray[np.float32]]) -> None:
    """Raise DannetError if a layer's output comes near the largest number of fp16 (`HALF_LIMIT`).

    It is tried on the frames and on the hard ones of their size, see `dannet_core.deploy.finite_graph`.
    """
    name, value = largest_activation(net, [frame.image for frame in with_hard_frames(frames)])
    if not value <= HALF_LIMIT:
        raise DannetError(
            f"precision: layer '{name}' puts out {value:.4g}, expected at most {HALF_LIMIT:.0f} in fp16: export in fp32"
        )


def require_parity(report: ParityReport) -> None:
    """Raise DannetError if fewer labels agree than the graph's precision must reach (`LABEL_AGREEMENT`)."""
    needed = LABEL_AGREEMENT[report.precision]
    if not report.label_agreement >= needed:
        raise DannetError(
            f"parity: {report.label_agreement:.4%} of the labels agree with PyTorch, expected at least {needed:.2%} in "
            f"{report.precision} (largest logit difference {report.max_abs:.3g}): do not deploy this file; where the "
            "pictures were made up, which have near ties everywhere, compare on real ones with --frames"
        )


def seeded_frame(size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """A frame to compare on where no picture is at hand: 1 x 3 x H x W, normalised; see `seeded_picture`."""
    return preprocess(seeded_picture(), size)


def _check_frames(net: DANNet, frames: Sequence[npt.NDArray[np.float32]]) -> None:
    if not frames or net.training:
        raise SettingsError(f"parity: got {len(frames)} frames, training={net.training}, expected frames and eval mode")


def _run_network(net: DANNet, frame: NamedFrame) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        relit, logits, _ = net.at_stride(torch.from_numpy(frame.image))
    if not (is_finite(logits.numpy()) and is_finite(relit.numpy())):
        raise NotFiniteError(f"the network itself gives NaN or infinity on {frame.name}: look at its weights")
    return relit, logits


def _labels(stride_logits: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    return upsample(stride_logits, size, align_corners).argmax(dim=1)
