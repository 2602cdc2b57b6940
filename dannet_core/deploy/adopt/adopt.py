"""Another project's segmentation graph as a file of this package, if its labels stay the graph's own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.atomic_files import whole_file
from dannet_core.class_set import CITYSCAPES, ClassSet
from dannet_core.classes import IGNORE_ID
from dannet_core.deploy.adopt.foreign import ForeignGraph, open_session, read_foreign, run
from dannet_core.deploy.adopt.picture_input import PictureInput, PictureOptions, picture_input
from dannet_core.deploy.adopt.scores import CLASS_AXIS, Scores, at_stride, find_scores, parse_class_map
from dannet_core.deploy.adopt.wrap import at_size, wrap
from dannet_core.deploy.finite_graph import hard_pictures, require_finite_graph
from dannet_core.deploy.seeded_picture import seeded_picture
from dannet_core.errors import DannetError, ModelFileError, OutputError
from dannet_core.inference.backends.onnxruntime import OnnxRuntimeBackend
from dannet_core.inference.postprocess import upsample_labels
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.metadata import ModelMetadata
from dannet_core.pixels import Rgb

ARCH: Final = "adopted"
AGREEMENT: Final = {"fp32": 0.9999, "fp16": 0.995, "int8": 0.995}
"""Smallest share of pixels with equal labels, by precision, as for a graph exported here."""
SEEDS: Final = (0, 1)
_QUANTIZED: Final = frozenset({"ConvInteger", "DequantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"})
_HASH_DIGITS: Final = 12


@dataclass(frozen=True)
class AdoptOptions:
    """What the caller says about the graph.

    Attributes:
        picture: how it wants its picture; what is left out is recognised, or its default taken and named.
        input: the picture's name, for a graph of several inputs.
        output: the name of scores or labels, for a graph of several outputs.
        classes: what it labels.
        class_map: ``FROM:TO`` for every class of the graph, TO a train id or 255 to leave it out; empty = they are the
            train ids.
        align_corners: how scores at a stride are to be upsampled, as in `torch.nn.functional.interpolate`.
        before_resize: take the scores in front of the bilinear resize that the graph ends in: the same labels at its
            own size, but for rounding, smoother ones at the camera's, and much less to do after the network.
        trained: False for random weights.
    """

    picture: PictureOptions = field(default_factory=PictureOptions)
    input: str | None = None
    output: str | None = None
    classes: ClassSet = CITYSCAPES
    class_map: tuple[str, ...] = ()
    align_corners: bool = False
    before_resize: bool = False
    trained: bool = True


class AdoptReport(NamedTuple):
    """What came out.

    Attributes:
        metadata: of the file written.
        scores: (h, w) of its scores, and their stride.
        said: what was recognised, given or taken, a line each.
        label_agreement: share of pixels with the graph's own labels, 0..1.
        pictures: how many were compared.
    """

    metadata: ModelMetadata
    scores: tuple[tuple[int, int], int]
    said: tuple[str, ...]
    label_agreement: float
    pictures: int

    def __str__(self) -> str:
        """One line."""
        (height, width), stride = self.scores
        return (
            f"{self.metadata.precision}, scores of {height} x {width} (stride {stride}), labels agree on "
            f"{self.label_agreement:.4%} of pixels of {self.pictures} pictures"
        )


def adopt(
    path: str | Path, out: str | Path, options: AdoptOptions = AdoptOptions(), pictures: Sequence[Rgb] = ()
) -> AdoptReport:
    """Write a graph of another project as one that `predict`, the node and everything else here opens.

    Its nodes stay as they are; others in front make its input of ours, and others behind make stride logits of its
    scores. The file appears only if its labels are those of the graph itself, run by plain ONNX Runtime.

    Args:
        path: the `.onnx` file; weights that lie beside it are taken in.
        out: ends in ``.onnx``.
        options: what cannot be recognised.
        pictures: H x W x 3 uint8 RGB of any size to compare labels on, besides seeded, black, dark and white ones.

    Raises:
        ModelFileError: it is no such graph; the message says what was got.
        SettingsError: an option is missing or contradicts the graph.
        NotFiniteError: it gives NaN or infinity on a picture; see `require_finite_graph`.
        DannetError: the labels differ.
        OutputError: the file cannot be written.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    target = Path(out)
    _check_target(target, Path(path))
    mapped = parse_class_map(options.class_map, len(options.classes))
    foreign = read_foreign(Path(path), options.input, options.output)
    picture = picture_input(foreign, options.picture)
    tried = [_fitted(rgb, picture.size) for rgb in (*map(seeded_picture, SEEDS), *pictures)]
    tried += hard_pictures(picture.size).values()
    runner = _Runner(foreign, picture, tried)
    scores = find_scores(foreign, picture.size, mapped, runner)
    if options.before_resize:
        scores = at_stride(foreign, scores, picture.size, runner)
    metadata = _describe(foreign, picture, scores, options)
    content = wrap(foreign, picture, scores, metadata).SerializeToString()
    require_finite_graph(content, str(path))
    with whole_file(target) as partial:
        partial.write_bytes(content)
        agreement, left_out = _agreement(partial, metadata, scores, tried, runner(foreign.output))
        _require_agreement(path, metadata.precision, agreement)
    said = (*picture.said, *scores.said, *_about_upsampling(scores, options), *_about_left_out(scores, left_out))
    return AdoptReport(metadata, (scores.size, scores.stride), said, agreement, len(tried))


class _Runner:
    """Runs the graph itself on the pictures that are tried, and gives its tensors by name."""

    def __init__(self, foreign: ForeignGraph, picture: PictureInput, tried: Sequence[Rgb]) -> None:
        self._foreign = foreign
        self._picture = picture
        self._inputs = [picture.apply(rgb) for rgb in tried]
        self._known: dict[str, list[npt.NDArray[Any]]] = {}

    def __call__(self, tensor: str) -> list[npt.NDArray[Any]]:
        """What the tensor is, picture by picture."""
        if tensor not in self._known:
            path = self._foreign.path
            session = open_session(at_size(self._foreign, self._picture, [tensor]), path)
            self._known[tensor] = [run(session, one, path) for one in self._inputs]
        return self._known[tensor]


def _check_target(target: Path, source: Path) -> None:
    if target.suffix != ".onnx":
        raise ModelFileError(f"{target}: got suffix '{target.suffix}', expected '.onnx'")
    if not target.parent.is_dir():
        raise OutputError(f"{target}: no such folder: make it first")
    if target.resolve() == source.resolve():
        raise OutputError(f"{target}: is the graph to adopt, expected another name: it would be lost")


def _fitted(rgb: Rgb, size: tuple[int, int]) -> Rgb:
    resized = cv2.resize(rgb, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)


def _describe(foreign: ForeignGraph, picture: PictureInput, scores: Scores, options: AdoptOptions) -> ModelMetadata:
    model = foreign.model
    digest = hashlib.sha256(foreign.path.read_bytes()).hexdigest()[:_HASH_DIGITS]
    producer = " ".join(part for part in (model.producer_name, model.producer_version) if part) or "an unknown exporter"
    count = len(options.classes)
    return ModelMetadata(
        arch=ARCH,
        backbone=foreign.path.stem,
        relighting_width=0,
        input_size=picture.size,
        align_corners=_align_corners(scores, options),
        precision=_precision(model),
        scores="one_hot" if scores.layout == "labels" else "logits",
        trained=options.trained,
        source=f"adopted from {foreign.path.name}, written by {producer}, sha256 {digest}",
        # Equal shares re-weight nothing: the labels stay the graph's own.
    ).with_classes(options.classes, (1 / count,) * count)


def _align_corners(scores: Scores, options: AdoptOptions) -> bool:
    return scores.stride > 1 and (options.align_corners if scores.align_corners is None else scores.align_corners)


def _precision(model: Any) -> str:
    """What the graph computes in, by its operators and weights."""
    if any(node.op_type in _QUANTIZED for node in model.graph.node):
        return "int8"
    constants = [attribute.t for node in model.graph.node if node.op_type == "Constant" for attribute in node.attribute]
    halves = any(tensor.data_type == type(tensor).FLOAT16 for tensor in (*model.graph.initializer, *constants))
    return "fp16" if halves else "fp32"


def _agreement(
    path: Path,
    metadata: ModelMetadata,
    scores: Scores,
    tried: Sequence[Rgb],
    theirs: Sequence[npt.NDArray[Any]],
) -> tuple[float, float]:
    """Share of pixels with the graph's own labels, and share whose own label is of a class that is left out."""
    equal = compared = left_out = 0
    with NightSegmenter(OnnxRuntimeBackend(path, device="cpu")) as segmenter:
        for rgb, output in zip(tried, theirs, strict=True):
            labels = _own_labels(output, metadata, scores, rgb)
            known = labels != IGNORE_ID
            equal += int((segmenter.segment(rgb).labels == labels)[known].sum())
            compared += int(known.sum())
            left_out += int((~known).sum())
    return equal / max(compared, 1), left_out / (compared + left_out)


def _own_labels(output: npt.NDArray[Any], metadata: ModelMetadata, scores: Scores, rgb: Rgb) -> npt.NDArray[np.uint8]:
    """Train ids of what the graph gave, at the picture's size; 255 for classes that are left out."""
    size = (rgb.shape[0], rgb.shape[1])
    plane = tuple(side for side in output.shape if side != 1)
    if len(plane) == 2:
        given = np.eye(scores.channels, dtype=np.float32)[output.reshape(plane).astype(np.intp)]
    else:
        given = np.moveaxis(output, CLASS_AXIS[scores.layout], -1).astype(np.float32)
        given = np.ascontiguousarray(given.reshape(given.shape[-3:]))
    return scores.train_ids[upsample_labels(given, size, metadata.align_corners)]


def _require_agreement(path: str | Path, precision: str, agreement: float) -> None:
    if agreement < AGREEMENT[precision]:
        raise DannetError(
            f"{path}: {agreement:.4%} of the labels stay the graph's own, expected {AGREEMENT[precision]:.2%} or more: "
            "nothing is written: please report this graph"
        )


def _about_upsampling(scores: Scores, options: AdoptOptions) -> tuple[str, ...]:
    if scores.stride == 1 or scores.layout == "labels" or scores.align_corners is not None:
        return ()
    how = "as given" if options.align_corners else "the default: give --align-corners if its own program does"
    return (f"upsampling from stride {scores.stride}: align_corners={options.align_corners}, {how}",)


def _about_left_out(scores: Scores, share: float) -> tuple[str, ...]:
    if scores.channels == len(scores.classes):
        return ()
    out = ", ".join(str(one) for one in range(scores.channels) if one not in scores.classes)
    return (
        f"classes left out: {out}: where they win ({share:.2%} of the pixels tried) the best of the others is taken",
    )
