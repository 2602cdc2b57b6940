"""Palettes of label maps: whether their colours say other ids than their indices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from dannet_core.class_set import CITYSCAPES, ClassSet
from dannet_core.classes import IGNORE_ID, VOID_COLORS

LABEL_IDS: Final = "label_ids"
"""The class set's own ids, for Cityscapes 0..33 (road = 7), as in `*_labelIds.png`."""
TRAIN_IDS: Final = "train_ids"
"""Train ids from 0 and 255 = ignore (for Cityscapes 0..18, road = 0), as in `*_labelTrainIds.png`."""

Colour = tuple[int, int, int]
Table = Mapping[Colour, set[int]]


def contradicts(meaning: Mapping[int, Colour], encodings: Sequence[str], classes: ClassSet = CITYSCAPES) -> bool:
    """Whether a known colour map has the colours, at least half of them, under other ids, and no known one fits all.

    Args:
        meaning: index to RGB, of the indices that occur.
        encodings: which of `LABEL_IDS` and `TRAIN_IDS` the ids may be.
        classes: of which these are ids.
    """
    found = False
    for table in _known_maps(encodings, classes):
        known = [index for index, colour in meaning.items() if colour in table]
        wrong = sum(index not in table[meaning[index]] for index in known)
        if len(known) == len(meaning) and not wrong:
            return False
        # One colour that happens to be in a map proves nothing among others.
        found = found or (wrong > 0 and len(known) == len(meaning)) or (wrong > 1 and 2 * wrong >= len(meaning))
    return found


def _known_maps(encodings: Sequence[str], classes: ClassSet) -> Iterator[Table]:
    """Colour to ids: of the classes, of grey that is the id, of PASCAL VOC's palette that labelling tools write."""
    for one in encodings:
        yield _colours_of(classes, one)
    yield {(i, i, i): {i} for i in range(256)}
    yield {_voc_colour(i): {i} for i in range(256)}


def _colours_of(classes: ClassSet, encoding: str) -> dict[Colour, set[int]]:
    table: dict[Colour, set[int]] = {}
    for train_id, colour in enumerate(classes.colors):
        table.setdefault(colour, set()).update(classes.label_ids[train_id] if encoding == LABEL_IDS else {train_id})
    for label_id, colour in VOID_COLORS.items() if classes == CITYSCAPES else ():
        table.setdefault(colour, set()).update({label_id, IGNORE_ID} if encoding == LABEL_IDS else {IGNORE_ID})
    return table


def _voc_colour(index: int) -> Colour:
    """Bits 0, 1, 2 of the index are the highest bits of red, green, blue, and so on downwards."""
    red, green, blue = (
        sum((index >> (3 * level + channel) & 1) << (7 - level) for level in range(3)) for channel in range(3)
    )
    return red, green, blue
