"""The sizes that everything is measured at, (height, width) in pixels."""

from typing import Final

CAMERA: Final = (1080, 1920)
SIZES: Final = ((540, 960), (1080, 1920))
"""Of the networks' inputs: the released evaluation's, and the camera's own."""
INPUT: Final = SIZES[0]
STRIDE: Final = (19, 68, 120)
"""PSPNet's logits for `INPUT`."""
