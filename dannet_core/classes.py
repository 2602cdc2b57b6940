"""The 19 Cityscapes evaluation classes: names, colours, ids, and the probability re-weighting built on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from dannet_core.errors import SettingsError

NUM_CLASSES: Final = 19
IGNORE_ID: Final = 255
"""Train id of pixels without a label, and of pixels below ``min_confidence``."""

CLASS_NAMES: Final[tuple[str, ...]] = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""Class names in train-id order (Cityscapes)."""

CLASS_COLORS: Final[tuple[tuple[int, int, int], ...]] = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
    (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
"""RGB, 0..255, in train-id order (Cityscapes)."""

LABEL_ID_TO_TRAIN_ID: Final[dict[int, int]] = {
    label_id: train_id
    for train_id, label_id in enumerate((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33))
}
"""Cityscapes label id to train id; every other label id is ``IGNORE_ID``."""

VOID_COLORS: Final[dict[int, tuple[int, int, int]]] = {
    **dict.fromkeys(range(5), (0, 0, 0)),
    5: (111, 74, 0), 6: (81, 0, 81), 9: (250, 170, 160), 10: (230, 150, 140), 14: (180, 165, 180), 15: (150, 100, 100),
    16: (150, 120, 90), 18: (153, 153, 153), 29: (0, 0, 90), 30: (0, 0, 110),
}  # fmt: skip
"""RGB of the label ids that are not evaluated (Cityscapes)."""

STATIC_CLASSES: Final = tuple(range(11))
"""Train ids 0..10, road to sky: the classes of the static loss (DANNet, section 3.4)."""

CITYSCAPES_CLASS_SHARES: Final[tuple[float, ...]] = (
    0.36869696, 0.06084986, 0.22824049, 0.00655399, 0.00877272, 0.01227341, 0.00207795, 0.0055127, 0.15928651,
    0.01157818, 0.04018982, 0.01218957, 0.00135122, 0.06994545, 0.00267456, 0.00235192, 0.00232904, 0.00098658,
    0.00413907,
)  # fmt: skip
"""a_k: share of the labelled Cityscapes training pixels that belong to class k (DANNet, eq. 1)."""


def reweighting_vector(class_shares: Sequence[float], std: float, avg: float = 1.0) -> npt.NDArray[np.float32]:
    """Class weights from class shares (DANNet, eq. 1 and 2).

    Args:
        class_shares: a_k, share of the valid source pixels labelled k, each above 0.
        std: spread of the weights; the paper uses 0.05 in training and 0.16 at test time. 0 switches re-weighting off.
        avg: mean of the weights.

    Returns:
        (K,) float32: w_k = (w'_k - mean(w')) / sigma(w') * std + avg with w'_k = -log a_k. sigma is the sample standard
        deviation (n - 1), as in the released code; the paper leaves it open.

    Raises:
        SettingsError: a share is not above 0, or the weights are not all above 0.
    """
    shares = np.asarray(class_shares, dtype=np.float64)
    if shares.ndim != 1 or shares.size < 2 or not (np.isfinite(shares).all() and (shares > 0).all()):
        raise SettingsError(f"class_shares: got {class_shares!r}, expected at least two numbers, each above 0")
    raw = -np.log(shares)
    # Equal shares leave everything as it is: the rounded mean of equal numbers must not look like a spread.
    deviations = (raw - raw.mean()) / raw.std(ddof=1) if np.ptp(raw) > 0 else np.zeros_like(raw)
    weights = deviations * std + avg
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise SettingsError(
            f"reweight_std: got {std}, which makes the smallest class weight {weights.min():.3f}, "
            f"expected every weight above 0: use a smaller std (the paper uses 0.16)"
        )
    return np.asarray(weights, dtype=np.float32)


def train_ids_from_label_ids(label_ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Cityscapes label ids (uint8, any shape) to train ids 0..18, 255 for everything that is not evaluated."""
    return _TRAIN_ID_LUT[label_ids]


def _train_id_lut() -> npt.NDArray[np.uint8]:
    lut = np.full(256, IGNORE_ID, dtype=np.uint8)
    for label_id, train_id in LABEL_ID_TO_TRAIN_ID.items():
        lut[label_id] = train_id
    return lut


_TRAIN_ID_LUT: Final = _train_id_lut()
