"""What a foreign graph gives, scores or labels, and how that becomes stride logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dannet_core.classes import IGNORE_ID, NUM_CLASSES
from dannet_core.deploy.adopt.ending import argmax_input, resize_input, softmax_input
from dannet_core.deploy.adopt.foreign import ForeignGraph, shown
from dannet_core.errors import ModelFileError, SettingsError

Array = npt.NDArray[Any]
Outputs = Callable[[str], Sequence[Array]]
"""Gives what a tensor of the graph, by name, is on the pictures tried."""
MAX_STRIDE: Final = 64
CLASS_AXIS: Final = {"nchw": 1, "nhwc": 3, "chw": 0, "hwc": 2}
"""Where the classes are, by layout."""
_OTHERS: Final = "--classes names other classes than Cityscapes' 19, --class-map says which of more are these"


class Scores(NamedTuple):
    """What becomes the stride logits.

    Attributes:
        tensor: its name in the graph.
        layout: ``nchw``, ``nhwc``, ``chw`` or ``hwc``; ``labels`` where it holds one label a pixel.
        kind: NumPy's name of its type.
        size: (h, w).
        stride: of the input; 1 = one score a pixel.
        classes: the graph's class for each train id.
        channels: how many classes the graph has.
        are_likelihoods: their logarithms are the logits.
        align_corners: how they are to be upsampled; None = the graph does not say.
        said: a line each on what was found.
    """

    tensor: str
    layout: str
    kind: str
    size: tuple[int, int]
    stride: int
    classes: tuple[int, ...]
    channels: int
    are_likelihoods: bool
    align_corners: bool | None
    said: tuple[str, ...]

    @property
    def train_ids(self) -> npt.NDArray[np.uint8]:
        """Train id for each of the graph's classes, 255 for one that is left out."""
        table = np.full(self.channels, IGNORE_ID, np.uint8)
        table[list(self.classes)] = np.arange(len(self.classes), dtype=np.uint8)
        return table

    @property
    def is_in_order(self) -> bool:
        """Whether the graph's classes are the train ids."""
        return self.classes == tuple(range(self.channels))


def find_scores(foreign: ForeignGraph, size: tuple[int, int], mapped: Mapping[int, int], outputs: Outputs) -> Scores:
    """Look at what the graph gives for some pictures.

    Scores in front of an argmax at its end are preferred to the labels behind it, and those in front of a softmax to
    likelihoods.

    Args:
        foreign: the graph.
        size: (height, width) of its input.
        mapped: train id, or 255, of every class of the graph; see `parse_class_map`.
        outputs: runs it.

    Raises:
        ModelFileError: neither scores nor labels, other classes than expected, or a size that does not follow from
            the input's.
        SettingsError: the class map does not fit.
    """
    given = outputs(foreign.output)
    said: tuple[str, ...] = ()
    tensor = foreign.output
    behind = argmax_input(foreign) if _are_labels(given) else None
    if behind is not None:
        tensor, where, axis = behind
        said = (f"labels: the graph ends in ArgMax '{where}': what goes into it is taken as the scores",)
    elif _are_labels(given):
        return _labels(foreign, given, size, mapped)
    found = _scores(foreign, tensor, outputs(tensor), size, mapped)
    rank = len(found.layout)
    if behind is not None and axis % rank != CLASS_AXIS[found.layout]:
        return _labels(foreign, given, size, mapped)
    before = softmax_input(foreign, found.tensor, CLASS_AXIS[found.layout], rank)
    if before is not None:
        said += (f"scores: the graph ends in {before[1]}: what goes into it is taken",)
        found = found._replace(tensor=before[0], are_likelihoods=False)
    elif found.are_likelihoods:
        said += ("scores: likelihoods, as they sum to 1: their logarithms are taken",)
    return found._replace(kind=outputs(found.tensor)[0].dtype.name, said=said)


def at_stride(foreign: ForeignGraph, found: Scores, size: tuple[int, int], outputs: Outputs) -> Scores:
    """The scores in front of the bilinear resize that gives them the input's size.

    Raises:
        SettingsError: there is no such resize.
    """
    fits = found.layout == "nchw" and not found.are_likelihoods
    before = resize_input(foreign, found.tensor) if fits else None
    if before is None:
        raise SettingsError("before_resize: the graph ends in no bilinear Resize of scores, expected one: leave it out")
    array = outputs(before.tensor)[0]
    plane = (array.shape[-2], array.shape[-1])
    stride = stride_of(size, plane)
    if stride is None:
        raise SettingsError(
            f"before_resize: the scores in front of Resize '{before.node}' are {shown(array.shape)}, expected a whole "
            f"stride of {size[0]} x {size[1]}: leave it out"
        )
    said = f"scores: those in front of Resize '{before.node}', align_corners={before.align_corners} as there"
    return found._replace(
        tensor=before.tensor,
        kind=array.dtype.name,
        size=plane,
        stride=stride,
        align_corners=before.align_corners,
        said=(*found.said, said),
    )


def parse_class_map(entries: Sequence[str], num_classes: int = NUM_CLASSES) -> dict[int, int]:
    """``FROM:TO`` pairs, blanks or commas between them, as a mapping of the graph's classes to train ids.

    Args:
        entries: one or more; none = the graph's classes are the train ids.
        num_classes: how many train ids there are.

    Raises:
        SettingsError: not such pairs, a class twice, or train ids that are not each there once.
    """
    if not entries:
        return {train_id: train_id for train_id in range(num_classes)}
    mapped: dict[int, int] = {}
    for entry in ",".join(entries).split(","):
        source, colon, target = entry.partition(":")
        if not (colon and source.strip().isdecimal() and target.strip().isdecimal()):
            raise SettingsError(f"class_map: got '{entry}', expected FROM:TO, as 1:0, or 0:{IGNORE_ID} to leave it out")
        if int(source) in mapped:
            raise SettingsError(f"class_map: class {int(source)} of the graph is there twice, expected once")
        mapped[int(source)] = int(target)
    kept = sorted(target for target in mapped.values() if target != IGNORE_ID)
    if kept != list(range(num_classes)):
        raise SettingsError(
            f"class_map: got the train ids {', '.join(map(str, kept))}, expected 0 to {num_classes - 1} once each"
        )
    if sorted(mapped) != list(range(len(mapped))):
        raise SettingsError(
            f"class_map: got {len(mapped)} classes of the graph, expected 0 to {len(mapped) - 1} once each"
        )
    return mapped


def stride_of(size: tuple[int, int], scores: tuple[int, int]) -> int | None:
    """The stride at which scores of a size lie over an input of another; None where there is none."""
    if scores == size:
        return 1
    for stride in range(2, MAX_STRIDE + 1):
        if all(one in (side // stride, side // stride + 1) for side, one in zip(size, scores, strict=True)):
            return stride
    return None


def _are_labels(arrays: Sequence[Array]) -> bool:
    """Whole numbers, one a pixel."""
    if arrays[0].dtype.kind in "iub":
        return True
    one_each = sum(side > 1 for side in arrays[0].shape) <= 2
    return one_each and all(bool((array == np.rint(array)).all()) for array in arrays)


def _labels(foreign: ForeignGraph, arrays: Sequence[Array], size: tuple[int, int], mapped: Mapping[int, int]) -> Scores:
    shape = arrays[0].shape
    plane = tuple(side for side in shape if side != 1)
    stride = stride_of(size, (plane[0], plane[1])) if len(plane) == 2 else None
    if stride is None:
        raise ModelFileError(
            f"{foreign.path}: gives labels of {shown(shape)} for an input of {size[0]} x {size[1]}, expected one for "
            "every pixel, or at a whole stride"
        )
    count = len(mapped)
    low, high = (int(extreme) for extreme in (min(a.min() for a in arrays), max(a.max() for a in arrays)))
    if low < 0 or high >= count:
        raise ModelFileError(f"{foreign.path}: gives labels {low} to {high}, expected 0 to {count - 1}, {_OTHERS}")
    if IGNORE_ID in mapped.values():
        raise SettingsError(
            "class_map: leaves classes out, but the graph gives labels alone, without a second best: map every class"
        )
    said = ("labels: the graph gives them without scores, and there is none to be had inside: there is no confidence",)
    return Scores(
        foreign.output,
        "labels",
        arrays[0].dtype.name,
        (plane[0], plane[1]),
        stride,
        _classes(mapped),
        count,
        False,
        None,
        said,
    )


def _scores(
    foreign: ForeignGraph, tensor: str, arrays: Sequence[Array], size: tuple[int, int], mapped: Mapping[int, int]
) -> Scores:
    array = arrays[0]
    wanted = len(mapped)
    places = list(_places(array.shape, size))
    fitting = [place for place in places if place.channels == wanted and place.stride is not None]
    if len(fitting) == 1:
        place = fitting[0]
        assert place.stride is not None, "only such places fit"
        likely, kind = all(_sum_to_one(one, place.layout) for one in arrays), array.dtype.name
        return Scores(tensor, place.layout, kind, place.size, place.stride, _classes(mapped), wanted, likely, None, ())
    raise ModelFileError(f"{foreign.path}: output '{tensor}' is {shown(array.shape)}, {_against(places, wanted, size)}")


class _Place(NamedTuple):
    layout: str
    channels: int
    size: tuple[int, int]
    stride: int | None


def _places(shape: tuple[int, ...], size: tuple[int, int]) -> Iterator[_Place]:
    """Where the classes may be."""
    if len(shape) == 4 and shape[0] != 1:
        return
    for layout, axis in CLASS_AXIS.items():
        if len(layout) == len(shape):
            plane = [side for i, side in enumerate(shape) if i != axis][-2:]
            yield _Place(layout, shape[axis], (plane[0], plane[1]), stride_of(size, (plane[0], plane[1])))


def _against(places: Sequence[_Place], wanted: int, size: tuple[int, int]) -> str:
    """Why it is not scores of the classes wanted."""
    if sum(place.channels == wanted and place.stride is not None for place in places) > 1:
        return "which may be classes first or last: choose another input size"
    covering = [place for place in places if place.stride is not None]
    if covering:
        count = covering[0].channels
        return f"scores of {count} classes, expected {wanted}, {_OTHERS}"
    if any(place.channels == wanted for place in places):
        return f"expected scores at the input's {size[0]} x {size[1]}, or at a whole stride of it"
    return f"expected scores of 1 x {wanted} x h x w or 1 x h x w x {wanted}, or labels of 1 x h x w"


def _classes(mapped: Mapping[int, int]) -> tuple[int, ...]:
    sources = {target: source for source, target in mapped.items() if target != IGNORE_ID}
    return tuple(sources[train_id] for train_id in range(len(sources)))


def _sum_to_one(array: Array, layout: str) -> bool:
    total = array.astype(np.float64).sum(axis=CLASS_AXIS[layout])
    return bool((array >= 0).all() and np.abs(total - 1).max() < 1e-2)
