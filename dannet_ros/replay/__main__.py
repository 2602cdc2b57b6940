"""`python -m dannet_ros.replay VERB ...`: make_bag, bag_frames, evaluate_bag, pair_drives and play."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from dannet_core.program import Program

VERBS: Final = {
    "make_bag": "a folder of images or a video, with labels and positions, to a rosbag2",
    "bag_frames": "pictures of a rosbag2 as PNG files",
    "evaluate_bag": "a model's quality and speed on a bag: JSON, HTML report, and a bag with the labels",
    "pair_drives": "day and night drives to day-night pairs for `dannet train`, by position",
    "play": "publish a bag's camera topics at the rate of their stamps",
}
PROGRAM: Final = Program("dannet_ros.replay", "dannet_ros.replay", VERBS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: verb and its arguments; None = the process's.
    """
    return PROGRAM.main(list(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
