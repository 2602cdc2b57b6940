"""A picture to compare on where nobody has one at hand."""

from __future__ import annotations

import numpy as np

from dannet_core.pixels import Rgb


def seeded_picture(seed: int = 0) -> Rgb:
    """Coloured patches with noise, 360 x 640 x 3 uint8: noise alone would leave scores flat, near each other."""
    rng = np.random.default_rng(seed)
    patches = np.kron(rng.integers(0, 200, (9, 16, 3)), np.ones((40, 40, 1)))
    return np.asarray(patches + rng.integers(0, 40, patches.shape), dtype=np.uint8)
