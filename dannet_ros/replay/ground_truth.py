"""Ground truth of a bag's frames: label images by stamp, from a topic of the bag or from a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from dannet_core.errors import ImageError, SettingsError
from dannet_core.label_png import decode_label_png, read_label_png, train_ids
from dannet_core.pixels import Labels
from dannet_ros.replay.bag_reading import COMPRESSED, Bag, stamp_ns
from dannet_ros.replay.scanned import RawMessage

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
    """

    def __init__(self, source: str, files: Mapping[int, Path], encoding: str) -> None:
        """Take over ``files`` by stamp in nanoseconds, all checked before."""
        self.source = source
        self._files, self._encoding = files, encoding
        self._used: set[int] = set()

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
        labels = read_label_png(file, self._encoding)
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
        return len(self._files) - len(self._used)


def open_truth(
    bag: Bag, wanted: Sequence[str], topics: Sequence[str], encoding: str, scratch: Path
) -> list[GroundTruth | None]:
    """Ground truth of each of ``topics``.

    Args:
        bag: the bag.
        wanted: a topic of the bag, a folder, or ``none``; one for all topics or one each; empty: `DEFAULT_TOPIC` where
            the bag has it.
        topics: the image topics.
        encoding: one of `ENCODINGS`.
        scratch: an empty folder for label images of the bag.

    Raises:
        SettingsError: neither a topic nor a folder, or a wrong number of them.
        ImageError: a damaged label image, or an id that does not exist.
    """
    chosen = list(wanted) or [DEFAULT_TOPIC if DEFAULT_TOPIC in bag.kinds else NONE]
    if len(chosen) not in (1, len(topics)):
        raise SettingsError(f"labels: got {len(chosen)}, expected 1 or as many as image topics ({len(topics)})")
    opened: dict[str, GroundTruth | None] = {
        name: _open(bag, name, encoding, scratch) for name in dict.fromkeys(chosen)
    }
    return [opened[name] for name in (chosen * len(topics) if len(chosen) == 1 else chosen)]


def _open(bag: Bag, name: str, encoding: str, scratch: Path) -> GroundTruth | None:
    if name == NONE:
        return None
    if name in bag.kinds:
        files = dict(_spool(bag, name, encoding, scratch))
    elif Path(name).is_dir():
        files = dict(_in_folder(Path(name)))
    else:
        raise SettingsError(
            f"labels: got {name}, expected a topic of the bag ({', '.join(bag.kinds)}), a folder, or none"
        )
    if not files:
        raise SettingsError(f"labels: {name} holds no labels, expected {STAMP_NAMES} or label messages")
    for file in files.values():
        read_label_png(file, encoding)
    return GroundTruth(name, files, "train_ids" if name in bag.kinds else encoding)


def _spool(bag: Bag, topic: str, encoding: str, scratch: Path) -> Iterator[tuple[int, Path]]:
    """Write a topic's labels to files of train ids: a drive's labels do not fit into memory."""
    folder = scratch / str(sum(1 for _ in scratch.iterdir()))
    folder.mkdir()
    for message in bag.raw(bag.image_topics([topic])):
        stamp, labels = _labels_of(bag, message, encoding)
        file = folder / f"{stamp}.png"
        cv2.imwrite(str(file), labels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        yield stamp, file


def _labels_of(bag: Bag, message: RawMessage, encoding: str) -> tuple[int, Labels]:
    """Stamp and train ids of a label message."""
    decoded = bag.decode(message)
    stamp = stamp_ns(decoded.header)
    where = f"{message.topic} at stamp {stamp}"
    if message.kind == COMPRESSED:
        return stamp, decode_label_png(bytes(decoded.data), encoding, where)
    if decoded.encoding not in _ID_ENCODINGS:
        raise ImageError(f"{where}: labels as {decoded.encoding[:40]}, expected ids as {' or '.join(_ID_ENCODINGS)}")
    rgb = bag.image(message).rgb
    if not all(np.array_equal(rgb[..., 0], rgb[..., channel]) for channel in (1, 2)):
        raise ImageError(f"{where}: labels in colour, expected ids: publish them as mono8")
    return stamp, train_ids(np.ascontiguousarray(rgb[..., 0]), encoding, where)


def _in_folder(folder: Path) -> Iterator[tuple[int, Path]]:
    for file in sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png"):
        stamp = stamp_of_name(file.stem)
        if stamp is None:
            raise SettingsError(f"{file}: no stamp in its name: expected {STAMP_NAMES}")
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
