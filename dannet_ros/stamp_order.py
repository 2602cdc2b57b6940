"""Whether stamps advance: frames that come late, bags that start over, drivers that set no stamp. No ROS in here."""

from __future__ import annotations

from enum import Enum
from typing import Final

RESTART_NS: Final = 1_000_000_000
"""A stamp this much older than the newest is a source that started over, e.g. a looping bag; less is a late frame."""
RESTART_FRAMES: Final = 5
"""So many late frames in a row are a source that started over too: a bag may be shorter than `RESTART_NS`."""


class Order(Enum):
    """How a frame's stamp lies to those before it."""

    NEWER = "newer"
    REPEATED = "repeated"
    OLDER = "older"
    RESTARTED = "restarted"


class StampOrder:
    """Judges the stamps of received frames, and counts what is not as it should be.

    Attributes:
        repeated: frames that carried the newest stamp once more.
        restarts: times that stamps jumped back.
    """

    def __init__(self) -> None:
        self._newest_ns: int | None = None
        self._late_in_a_row = 0
        self.repeated = 0
        self.restarts = 0

    def judge(self, stamp_ns: int) -> Order:
        """Take in the stamp of a received frame, in nanoseconds."""
        newest = self._newest_ns
        if newest is None or stamp_ns > newest:
            return self._accept(stamp_ns, Order.NEWER)
        if stamp_ns == newest:
            self.repeated += 1
            return self._accept(stamp_ns, Order.REPEATED)
        self._late_in_a_row += 1
        if newest - stamp_ns < RESTART_NS and self._late_in_a_row < RESTART_FRAMES:
            return Order.OLDER
        self.restarts += 1
        return self._accept(stamp_ns, Order.RESTARTED)

    def forget(self) -> None:
        """Take the next stamp as the first: the clock they come from was set."""
        self._newest_ns = None
        self._late_in_a_row = 0

    def _accept(self, stamp_ns: int, order: Order) -> Order:
        self._newest_ns = stamp_ns
        self._late_in_a_row = 0
        return order
