from __future__ import annotations

import numpy as np

from dannet_core.class_set import CITYSCAPES
from dannet_core.classes import CLASS_COLORS, CLASS_NAMES
from dannet_ros.legend import ROW_PX, SWATCH_PX, legend


def test_every_class_has_its_colour_and_some_text() -> None:
    picture = legend(CITYSCAPES)
    assert picture.shape[0] == (len(CLASS_NAMES) + 1) * ROW_PX
    for train_id, color in enumerate((*CLASS_COLORS, (0, 0, 0))):
        row = picture[train_id * ROW_PX : (train_id + 1) * ROW_PX]
        assert (row[:, :SWATCH_PX] == color).all(), train_id
        assert (row[:, SWATCH_PX:] > 200).any(), train_id


def test_rows_differ_in_their_text() -> None:
    picture = legend(CITYSCAPES)
    rows = [picture[i : i + ROW_PX, SWATCH_PX:] for i in range(0, len(picture), ROW_PX)]
    assert not any(np.array_equal(a, b) for i, a in enumerate(rows) for b in rows[:i])
