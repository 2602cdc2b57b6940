"""Ground truth of a bag's frames: label images by stamp, from a topic of the bag or from a folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np

from dannet_core.errors import ImageError, OutputError, SettingsError
from dannet_core.formats.label_palette import TRAIN_IDS
from dannet_core.formats.label_png import LabelCode, decode_label_png, read_label_png, train_ids
from dannet_core.pixels import Labels
from dannet_ros.replay.bag_reading import COMPRESSED, Bag, stamp_ns
from dannet_ros.replay.scanned import RawMessage
from dannet_ros.replay.serialized import stamp_of
from dannet_ros.replay.transports import base_of

ENCODINGS: Final = ("train_ids", "label_ids")
"""``train_ids``: 0..18. ``label_ids``: Cityscapes' 0..33. 255 is "not labelled" in both."""
DEFAULT_TOPIC: Final = "/ground_truth/label"
"""Where `make_bag --labels` puts them."""
NONE: Final = "none"

_ID_ENCODINGS: Final = ("mono8", "8UC1", "rgb8", "bgr8")
"""Raw images whose bytes can be ids; the last two with three equal channels."""
_STAMP: Final = re.compile(r"(?:(\d{10,20})|(\d{1,10})\.(\d{9})|(\d{1,10})[_-](\d{1,9}))(?=$|[_.-]?[A-Za-z])")
STAMP_NAMES: Final = "NANOSECONDS.png, SECONDS.NNNNNNNNN.png or SECONDS_NANOSECONDS.png"


class GroundTruth:
    """Label images by the stamp of their frame.

    Attributes:
        source: the topic or folder they come from.
        problems: what of it cannot be used, one line each.
    """

    def __init__(self, source: str, files: Mapping[int, Path], code: LabelCode, used: set[int] | None = None) -> None:
        """Take over ``files`` by stamp in nanoseconds, all checked before.

        Args:
            source: the topic or folder they come from.
            files: label images by stamp.
            code: what the ids in the files mean.
            used: stamps that frames have asked for, shared with other cameras of the same labels.
        """
        self.source = source
        self.problems: list[str] = []
        self._files, self._code = dict(files), code
        self._used: set[int] = set() if used is None else used

    def leave_out(self, stamps: Iterable[int], why: str) -> None:
        """Forget the labels of ``stamps``, which cannot be told to be those of one frame; ``why`` ends the sentence."""
        unclear = sorted(stamp for stamp in stamps if stamp in self._files)
        for stamp in unclear:
            del self._files[stamp]
        if unclear:
            others = f" and {len(unclear) - 1} others" if len(unclear) > 1 else ""
            self.problems.append(f"{self.source}: labels of stamp {unclear[0]}{others} left out: {why}")

    def __len__(self) -> int:
        return len(self._files)

    def find(self, stamp: int, size: tuple[int, int]) -> Labels | None:
        """Labels of the frame stamped ``stamp`` (nanoseconds), H x W uint8 train ids; None when there are none.

        Raises:
            ImageError: their size is not the frame's, (height, width).
        """
        file = self._files.get(stamp)
        if file is None:
            return None
        labels = read_label_png(file, *self._code)
        self._used.add(stamp)
        if labels.shape != size:
            got, wanted = f"{labels.shape[1]}x{labels.shape[0]}", f"{size[1]}x{size[0]}"
            raise ImageError(f"label of stamp {stamp}: got {got} pixels, expected {wanted} like its frame")
        return labels

    @property
    def first_stamp(self) -> int:
        """The earliest label's stamp, nanoseconds."""
        return min(self._files)

    @property
    def unused(self) -> int:
        """Labels that no frame has asked for."""
        return len(self._files.keys() - self._used)


def open_truth(
    bag: Bag, wanted: Sequence[str], topics: Sequence[str], code: LabelCode, scratch: Path
) -> list[GroundTruth | None]:
    """Ground truth of each of ``topics``.

    Args:
        bag: the bag.
        wanted: a topic of the bag, a folder, or ``none``; one for all topics or one each; empty: `DEFAULT_TOPIC` where
            the bag has it.
        topics: the image topics.
        code: what the ids in the labels mean.
        scratch: an empty folder for label images of the bag.

    Raises:
        SettingsError: neither a topic nor a folder, or a wrong number of them.
        ImageError: a damaged label image, or an id that does not exist.
    """
    chosen = list(wanted) or [DEFAULT_TOPIC if DEFAULT_TOPIC in bag.kinds else NONE]
    if len(chosen) not in (1, len(topics)):
        raise SettingsError(f"labels: got {len(chosen)}, expected 1 or as many as image topics ({len(topics)})")
    opened = {name: _open(bag, name, code, scratch) for name in dict.fromkeys(chosen)}
    if not any(opened.values()):
        return [None] * len(topics)
    stamps = {topic: Counter(_stamps(bag, topic)) for topic in topics}
    if len(chosen) > 1:
        return [_of_camera(opened[name], topic, stamps, ()) for name, topic in zip(chosen, topics, strict=True)]
    others = {topic: [one for one in topics if base_of(one) != base_of(topic)] for topic in topics}
    used: set[int] = set()
    return [_of_camera(opened[chosen[0]], topic, stamps, others[topic], used) for topic in topics]


def _of_camera(
    labels: _Labels | None,
    topic: str,
    stamps: Mapping[str, Counter[int]],
    others: Sequence[str],
    used: set[int] | None = None,
) -> GroundTruth | None:
    """The labels of one camera without those that may be another frame's: stamps are not names.

    Args:
        labels: of all frames.
        topic: the camera's.
        stamps: how often each stamp is on each image topic, nanoseconds.
        others: further cameras that ``labels`` are meant for.
        used: see `GroundTruth`.
    """
    if labels is None:
        return None
    truth = GroundTruth(labels.source, labels.files, labels.code, used)
    truth.leave_out(labels.repeated, "several labels have it")
    truth.leave_out([one for one, count in stamps[topic].items() if count > 1], f"several frames of {topic} have it")
    for other in others:
        why = f"frames of both {' and '.join(sorted((topic, other)))} have it: name the labels of each with --labels"
        truth.leave_out(stamps[topic].keys() & stamps[other].keys(), why)
    return truth


def _stamps(bag: Bag, topic: str) -> Iterator[int]:
    for message in bag.pictures([topic]):
        try:
            yield stamp_of(message.data)
        except ImageError:  # the evaluation refuses it by name
            continue


class _Labels(NamedTuple):
    """Label images as they were found: by stamp, and the stamps that several of them have."""

    source: str
    files: dict[int, Path]
    code: LabelCode
    repeated: set[int]


def _open(bag: Bag, name: str, code: LabelCode, scratch: Path) -> _Labels | None:
    if name == NONE:
        return None
    if name in bag.kinds:
        found = list(_spool(bag, name, code, scratch))
    elif Path(name).is_dir():
        found = list(_in_folder(Path(name)))
    else:
        raise SettingsError(
            f"labels: got {name}, expected a topic of the bag ({', '.join(bag.kinds)}), a folder, or none"
        )
    if not found:
        raise SettingsError(f"labels: {name} holds no labels, expected {STAMP_NAMES} or label messages")
    for _, file in found:
        read_label_png(file, *code)
    repeated = {stamp for stamp, count in Counter(stamp for stamp, _ in found).items() if count > 1}
    return _Labels(name, dict(found), code._replace(encoding=TRAIN_IDS) if name in bag.kinds else code, repeated)


def _spool(bag: Bag, topic: str, code: LabelCode, scratch: Path) -> Iterator[tuple[int, Path]]:
    """Write a topic's labels to files of train ids: a drive's labels do not fit into memory."""
    folder = scratch / str(sum(1 for _ in scratch.iterdir()))
    folder.mkdir()
    for number, message in enumerate(bag.pictures(bag.image_topics([topic]))):
        stamp, labels = _labels_of(bag, message, code)
        file = folder / f"{number}.png"
        _, png = cv2.imencode(".png", labels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        try:  # imwrite does not say when a disk is full
            file.write_bytes(png.tobytes())
        except OSError as error:
            raise OutputError(f"{file}: cannot write: {error.strerror or error}") from error
        yield stamp, file


def _labels_of(bag: Bag, message: RawMessage, code: LabelCode) -> tuple[int, Labels]:
    """Stamp and train ids of a label message."""
    decoded = bag.decode(message)
    stamp = stamp_ns(decoded.header)
    where = f"{message.topic} at stamp {stamp}"
    if message.kind == COMPRESSED:
        return stamp, decode_label_png(bytes(decoded.data), code.encoding, where, code.classes)
    if decoded.encoding not in _ID_ENCODINGS:
        raise ImageError(f"{where}: labels as {decoded.encoding[:40]}, expected ids as {' or '.join(_ID_ENCODINGS)}")
    rgb = bag.image(message).rgb
    if not all(np.array_equal(rgb[..., 0], rgb[..., channel]) for channel in (1, 2)):
        raise ImageError(f"{where}: labels in colour, expected ids: publish them as mono8")
    return stamp, train_ids(np.ascontiguousarray(rgb[..., 0]), code.encoding or TRAIN_IDS, where, code.classes)


def _in_folder(folder: Path) -> Iterator[tuple[int, Path]]:
    seen: dict[int, Path] = {}
    for file in sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png"):
        stamp = stamp_of_name(file.stem)
        if stamp is None:
            raise SettingsError(f"{file}: no stamp in its name: expected {STAMP_NAMES}")
        if stamp in seen:
            raise SettingsError(
                f"{file}: a second label of stamp {stamp} beside {seen[stamp].name}, expected one a frame"
            )
        seen[stamp] = file
        yield stamp, file


def stamp_of_name(stem: str) -> int | None:
    """Nanoseconds of a file name; see `STAMP_NAMES`, a suffix such as ``_labelTrainIds`` may follow."""
    match = _STAMP.match(stem)
    if match is None:
        return None
    whole, seconds, fraction, plain_seconds, nanoseconds = match.groups()
    if whole:
        return int(whole)
    return int(seconds or plain_seconds) * 10**9 + int(fraction or nanoseconds)
