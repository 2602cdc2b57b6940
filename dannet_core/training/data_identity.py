"""Which data a run sees, told by its files' names and sizes: it may lie elsewhere when the run is resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from dannet_core.class_set import CITYSCAPES, ClassSet
from dannet_core.data.sample import Pair, Sample
from dannet_core.errors import DataSetError, SettingsError

Identity = dict[str, list[str]]
"""By setting (``data.source``, ``data.target``), a line for every sample, in order."""
_SETTINGS: Final = ("data.source", "data.target")


def identify(source: Iterable[Sample], pairs: Iterable[Pair]) -> Identity:
    """Names, sizes in bytes and encodings of the files, without the folders they lie in.

    Raises:
        DataSetError: a file has gone since it was checked.
    """
    lines = ([_line(sample) for sample in source], [f"{_line(pair.night)} with {_line(pair.day)}" for pair in pairs])
    return dict(zip(_SETTINGS, lines, strict=True))


def refuse_other_data(now: Identity, then: Identity) -> None:
    """Raise SettingsError, naming what differs, when the data is not that of the run to resume."""
    for setting in _SETTINGS:
        got, expected = now.get(setting, []), then.get(setting, [])
        if got != expected:
            raise SettingsError(
                f"{setting}: not the data of the run to resume: {_difference(got, expected)}: say where that data is "
                "now, or start anew"
            )


def _line(sample: Sample) -> str:
    try:
        image = sample.image_path.stat().st_size
        labels = None if sample.label_path is None else sample.label_path.stat().st_size
    except OSError as error:
        raise DataSetError(f"{sample.image_path}: cannot read it or its labels: {error.strerror}") from error
    if labels is None:
        return f"{sample.name} ({image} bytes)"
    return f"{sample.name} ({image} bytes, {labels} of {sample.encoding}{_meaning(sample.classes)})"


def _meaning(classes: ClassSet) -> str:
    """What the ids mean, where that is not Cityscapes."""
    if classes == CITYSCAPES:
        return ""
    what = repr((classes.names, classes.label_ids, classes.static, classes.ignored_ids))
    return f" for {classes}, {hashlib.sha256(what.encode()).hexdigest()[:12]}"


def _difference(got: Sequence[str], expected: Sequence[str]) -> str:
    one, other = next(((a, b) for a, b in zip(got, expected, strict=False) if a != b), ("", ""))
    count = f"got {len(got)} samples, expected {len(expected)}"
    if len(got) == len(expected):
        count = f"{sum(a != b for a, b in zip(got, expected, strict=True))} of {len(got)} samples differ"
    return f"{count}, the first: got {one}, expected {other}" if one else count
