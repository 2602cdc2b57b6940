"""Counts and latencies of the frames that went through the node. No ROS in here."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from types import MappingProxyType
from typing import Final, NamedTuple

WINDOW: Final = 300
"""Frames a latency window holds: ten seconds at 30 Hz."""
STAGES: Final = MappingProxyType(
    {
        "receive": "stamp to reception, by the node's clock: camera, driver and network",
        "wait": "reception until the worker takes the frame",
        "convert": "message to RGB: colour conversion, JPEG; where a GPU works, JPEG only",
        "preprocess": "RGB to network input; where a GPU works, handing the frame to it",
        "infer": "the network; where a GPU works, waiting for it to finish all of its work",
        "postprocess": "network output to labels at camera resolution; where a GPU works, taking them",
        "publish": "making and publishing what is subscribed",
        "total": "reception to published",
        "age": "stamp to published, by the node's clock: how old a label is when it leaves the node",
    }
)
"""Stages of a frame and what their milliseconds span."""
OUTCOMES: Final = MappingProxyType(
    {
        "processed": "labelled and published",
        "replaced": "overtaken by a newer frame while it waited",
        "malformed": "refused for what the message holds, see `last problem`",
        "failed": "the model or the runtime failed on it, see `last problem`",
        "stale": "older than max_age_ms on arrival or when its turn came",
        "late": "older than max_age_ms once labelled",
        "out_of_order": "its stamp is older than that of a frame before it",
        "unwatched": "nobody subscribed an output",
    }
)
"""What became of a received frame: exactly one of these, unless it is still waiting or in work."""

_MIN_INTERVALS: Final = 8
_PAUSE_INTERVALS: Final = 30
_JITTER: Final = 0.2


class Spread(NamedTuple):
    """Percentiles of a window, milliseconds."""

    p50: float
    p95: float
    p99: float


class FrameStatistics:
    """Latency windows and outcome counts; written by the worker thread, read by the diagnostics timer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[str, deque[float]] = {stage: deque(maxlen=WINDOW) for stage in STAGES}
        self._counts: Counter[str] = Counter()
        self._last_problem = ""
        self._failures_in_a_row = 0

    def add_latencies(self, latencies_ms: dict[str, float]) -> None:
        """Add one frame's milliseconds by stage."""
        with self._lock:
            for stage, value in latencies_ms.items():
                self._windows[stage].append(value)

    def count(self, outcome: str, problem: str = "") -> None:
        """Count one frame's outcome, with the reason when it was not a good one."""
        with self._lock:
            self._counts[outcome] += 1
            self._last_problem = problem or self._last_problem
            if outcome in ("failed", "processed"):
                self._failures_in_a_row = self._failures_in_a_row + 1 if outcome == "failed" else 0

    def counts(self) -> dict[str, int]:
        """Frames by outcome."""
        with self._lock:
            return {outcome: self._counts[outcome] for outcome in OUTCOMES}

    @property
    def failures_in_a_row(self) -> int:
        """How many frames have failed since one was processed."""
        return self._failures_in_a_row

    @property
    def last_problem(self) -> str:
        """Why the last frame that was refused or failed was; empty when none was."""
        return self._last_problem

    def spreads(self) -> dict[str, Spread]:
        """Percentiles by stage, for stages that have values."""
        with self._lock:
            windows = {stage: sorted(window) for stage, window in self._windows.items() if window}
        return {stage: Spread(*(_percentile(values, p) for p in (50, 95, 99))) for stage, values in windows.items()}


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


class LostFrames:
    """Counts frames that never arrived: those the middleware reports, and the gaps between the stamps of the others.

    Some middlewares report nothing, and none knows of frames lost before it; where most frames are lost, gaps tell too
    little. So the larger of the two counts. The usual interval follows from the last ones. A gap counts when the frame
    after it is there: where that one comes early, the one before was late and nothing was lost. Stamps that stand still
    or go back (a looping bag) start afresh; a gap of more than 30 intervals is a camera that paused.
    """

    def __init__(self) -> None:
        self._intervals_ns: deque[int] = deque(maxlen=31)
        self._last_ns: int | None = None
        self._gap_ns = 0
        self._in_gaps = 0
        self._reported = 0
        self.last_lost_at_s: float | None = None

    def add(self, stamp_ns: int) -> None:
        """Take in the stamp of a received frame, in nanoseconds."""
        last, self._last_ns = self._last_ns, stamp_ns
        if last is None:
            return
        interval, gap, self._gap_ns = stamp_ns - last, self._gap_ns, 0
        if interval <= 0:
            self._intervals_ns.clear()
            return
        usual = self.usual_interval_ns
        self._intervals_ns.append(interval)
        if usual is None:
            return
        on_time = interval < 1.5 * usual
        if gap:
            self._add_lost(round((gap + interval) / usual) - 2 if on_time else round(gap / usual) - 1)
        if not on_time and interval <= _PAUSE_INTERVALS * usual:
            self._gap_ns = interval

    def _add_lost(self, count: int) -> None:
        if count > 0:
            self._in_gaps += count
            self.last_lost_at_s = time.monotonic()

    def add_reported(self, count: int) -> None:
        """Take in that the middleware lost ``count`` more frames."""
        self._reported += count
        self.last_lost_at_s = time.monotonic()

    @property
    def lost(self) -> int:
        """Frames lost so far."""
        return max(self._in_gaps, self._reported)

    @property
    def usual_interval_ns(self) -> int | None:
        """Mean of the middle half of the intervals; None until there are enough of them to see a rate.

        Also None when they are no multiples of one of the short ones: such a camera has no rate to miss frames of.
        """
        count = len(self._intervals_ns)
        if count < _MIN_INTERVALS:
            return None
        ordered = sorted(self._intervals_ns)
        multiples = [interval / ordered[count // 10] for interval in ordered]
        if sum(abs(multiple - round(multiple)) > _JITTER for multiple in multiples) > count // 4:
            return None
        middle = ordered[count // 4 : count - count // 4]
        return sum(middle) // len(middle)
