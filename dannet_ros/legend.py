"""The label legend as a picture: a swatch and a name per class, for viewers that know nothing of classes."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from dannet_core.class_set import ClassSet
from dannet_core.classes import IGNORE_ID

ROW_PX: Final = 24
SWATCH_PX: Final = 40
WIDTH_PX: Final = 220


def legend(classes: ClassSet) -> npt.NDArray[np.uint8]:
    """The classes in train-id order, and unlabelled last.

    Args:
        classes: of the model.

    Returns:
        H x 220 x 3 uint8 RGB, 24 rows a class; the leftmost 40 columns hold the colour the outputs use.
    """
    rows = [(train_id, f"{train_id} {name}") for train_id, name in enumerate(classes.names)]
    rows.append((IGNORE_ID, f"{IGNORE_ID} unlabelled"))
    picture = np.full((len(rows) * ROW_PX, WIDTH_PX, 3), 32, np.uint8)
    for row, (label, text) in enumerate(rows):
        top = row * ROW_PX
        picture[top : top + ROW_PX, :SWATCH_PX] = classes.colormap[label]
        origin = (SWATCH_PX + 8, top + ROW_PX - 7)
        cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
    return picture
