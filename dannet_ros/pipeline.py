"""One frame's way through the worker thread: message, picture, prediction, published outputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dannet_core import InferenceSettings, NightSegmenter
from dannet_core.errors import DannetError, ImageError
from dannet_ros.conversions import to_rgb
from dannet_ros.frame_statistics import FrameStatistics
from dannet_ros.publishers import Picture, Publishers
from dannet_ros.worker import Received

LOG_PERIOD_S = 1.0


def stamp_ns(header: Any) -> int:
    """A header's stamp in nanoseconds; any int32 seconds and uint32 nanoseconds will do."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


class FramePipeline:
    """Labels one received message and accounts for it, whatever it holds.

    Attributes:
        settings: how pictures become labels; the executor thread may set a new object between frames.
        overlay_alpha: opacity of the overlay, likewise.
        max_age_ms: frames older than this are dropped; 0 = off.
        abandoned: set when the worker was left behind: a frame that ends after all is not published any more.
    """

    def __init__(
        self, publishers: Publishers, statistics: FrameStatistics, now_ns: Callable[[], int], log: Any
    ) -> None:
        self._publishers = publishers
        self._statistics = statistics
        self._now_ns = now_ns
        self._log = log
        self.settings = InferenceSettings()
        self.overlay_alpha = 0.5
        self.max_age_ms = 0.0
        self.abandoned = False

    def __call__(self, segmenter: NightSegmenter, received: Received) -> None:
        """Process one frame; never raises: the next frame may be a good one."""
        try:
            outcome, problem = self._process(segmenter, received), ""
        except ImageError as error:
            outcome, problem = "malformed", str(error)
            self._log.warning(f"frame dropped: {problem}", throttle_duration_sec=LOG_PERIOD_S)
        except Exception as error:  # noqa: BLE001  a driver or runtime error on one frame must not end the node
            problem = str(error) if isinstance(error, DannetError) else f"{type(error).__name__}: {error}"
            outcome, problem = "failed", problem.partition("\n")[0]
            self._log.error(f"frame failed: {problem}", throttle_duration_sec=LOG_PERIOD_S)
        self._statistics.count(outcome, problem)

    def _process(self, segmenter: NightSegmenter, received: Received) -> str:
        header = received.message.header
        wanted = self._publishers.wanted()
        if not wanted:
            self._publishers.publish_camera_info(header)
            return "unwatched"
        age_ms = (self._now_ns() - stamp_ns(header)) / 1e6
        if 0 < self.max_age_ms < age_ms:
            return "stale"
        taken_s = time.perf_counter()
        rgb = to_rgb(received.message)
        converted_s = time.perf_counter()
        if segmenter.settings is not self.settings:
            segmenter.settings = self.settings
        prediction = segmenter.segment(rgb, with_relit="relit" in wanted)
        if self.abandoned:
            return "stale"
        labelled_s = time.perf_counter()
        self._publishers.publish(header, Picture(prediction, rgb, self.overlay_alpha), wanted)
        self._publishers.publish_camera_info(header)
        done_s = time.perf_counter()
        waited_ms = (taken_s - received.at_s) * 1e3
        self._statistics.add_latencies(
            {
                "age": age_ms - waited_ms,
                "wait": waited_ms,
                "convert": (converted_s - taken_s) * 1e3,
                **prediction.timings_ms,
                "publish": (done_s - labelled_s) * 1e3,
                "total": (done_s - received.at_s) * 1e3,
            }
        )
        return "processed"
