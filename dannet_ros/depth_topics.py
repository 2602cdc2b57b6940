"""Topics that say by their name that grey samples of 16 bits are distances or temperatures, not light."""

from __future__ import annotations

import re
from typing import Final

from dannet_core.tone import ToneSettings

_NOT_LIGHT: Final = re.compile(
    r"(?:^|[/_])(depth|disparity|disp|range|tof|thermal|lwir|temperature)(?=$|[/_\d])", re.IGNORECASE
)


def why_not_light(topic: str, settings: ToneSettings) -> str:
    """Why ``mono16`` on ``topic`` is refused; empty = it is taken for light.

    Drivers of depth and thermal cameras send it as those of night cameras do: the message does not tell them apart. A
    bit depth that was set says that somebody knows this camera.
    """
    found = _NOT_LIGHT.search(topic)
    if found is None or settings.bit_depth:
        return ""
    return (
        f"mono16 on {topic}: got '{found[1]}' in the topic's name, expected a camera's samples of light: depth and "
        "thermal maps have no labels; set bit_depth if it is a camera"
    )
