"""Pairs camera_info messages with labels of the same stamp, whichever comes first. No ROS in here."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Final

INFOS_KEPT: Final = 512
"""Enough for a frame that takes 17 s at 30 Hz: its camera_info must outlive the newer ones that came meanwhile."""
STAMPS_KEPT: Final = 32
"""For a second at 30 Hz published labels wait for their camera_info: many drivers send it after the picture."""

_Stamp = tuple[int, int]


class CameraInfos:
    """Gives every camera_info out at most once; for the executor thread and the worker thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._infos: OrderedDict[_Stamp, Any] = OrderedDict()
        self._awaited: OrderedDict[_Stamp, None] = OrderedDict()

    def __len__(self) -> int:
        """How many are kept for labels to come."""
        return len(self._infos)

    def came(self, message: Any) -> bool:
        """Keep a camera_info for its labels; True, and not kept, where they are out already: publish it."""
        stamp = _stamp(message.header)
        with self._lock:
            if stamp in self._awaited:
                del self._awaited[stamp]
                return True
            self._infos[stamp] = message
            while len(self._infos) > INFOS_KEPT:
                self._infos.popitem(last=False)
            return False

    def take(self, header: Any) -> Any | None:
        """The camera_info of labels that are out; None where it is yet to come, see `came`, or never will."""
        stamp = _stamp(header)
        with self._lock:
            message = self._infos.pop(stamp, None)
            if message is None:
                self._awaited[stamp] = None
                while len(self._awaited) > STAMPS_KEPT:
                    self._awaited.popitem(last=False)
            return message


def _stamp(header: Any) -> _Stamp:
    return header.stamp.sec, header.stamp.nanosec
