"""One frame's way through the worker thread: message, picture, prediction, published outputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dannet_core import InferenceSettings, NightSegmenter
from dannet_core.errors import DannetError, ImageError
from dannet_ros.conversions import to_rgb
from dannet_ros.frame_statistics import FrameStatistics
from dannet_ros.parameters import OUTPUT_NAMES
from dannet_ros.publishers import Picture, Publishers
from dannet_ros.scene_figures import SceneFigures
from dannet_ros.worker import Received

LOG_PERIOD_S = 1.0


def stamp_ns(header: Any) -> int:
    """A header's stamp in nanoseconds; any int32 seconds and uint32 nanoseconds will do."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


class FramePipeline:
    """Labels one received message and accounts for it, whatever it holds.

    Attributes:
        settings: how pictures become labels; the executor thread may set a new object between frames.
        outputs: names of the outputs that may be made, likewise.
        overlay_alpha: opacity of the overlay, likewise.
        max_age_ms: frames older than this are dropped; 0 = off.
        stability: compare labels with those of the frame before.
        abandoned: set when the worker was left behind: a frame that ends after all is not published any more.
    """

    def __init__(
        self,
        publishers: Publishers,
        statistics: FrameStatistics,
        scene: SceneFigures,
        now_ns: Callable[[], int],
        log: Any,
    ) -> None:
        self._publishers = publishers
        self._statistics = statistics
        self._scene = scene
        self._now_ns = now_ns
        self._log = log
        self.settings = InferenceSettings()
        self.outputs: frozenset[str] = frozenset(OUTPUT_NAMES)
        self.overlay_alpha = 0.5
        self.max_age_ms = 0.0
        self.stability = False
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

    def age_ms(self, header: Any) -> float:
        """Milliseconds since the header's stamp, by the node's clock; negative when the stamp lies ahead."""
        return (self._now_ns() - stamp_ns(header)) / 1e6

    def is_too_old(self, age_ms: float) -> bool:
        """Whether a frame of that age is to be dropped."""
        return 0 < self.max_age_ms < age_ms

    def _process(self, segmenter: NightSegmenter, received: Received) -> str:
        header = received.message.header
        wanted = self._publishers.wanted() & self.outputs
        if not wanted:
            self._publishers.publish_camera_info(header)
            return "unwatched"
        if self.is_too_old(self.age_ms(header)):
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
        latencies_ms = {
            "receive": received.age_ms,
            "wait": (taken_s - received.at_s) * 1e3,
            "convert": (converted_s - taken_s) * 1e3,
            **prediction.timings_ms,
        }
        if self.is_too_old(self.age_ms(header)):
            self._statistics.add_latencies(latencies_ms)  # they show which stage made it late
            return "late"
        self._publishers.publish(header, Picture(prediction, rgb, self.overlay_alpha), wanted)
        self._publishers.publish_camera_info(header)
        done_s = time.perf_counter()
        latencies_ms |= {
            "publish": (done_s - labelled_s) * 1e3,
            "total": (done_s - received.at_s) * 1e3,
            "age": self.age_ms(header),
        }
        self._statistics.add_latencies(latencies_ms)
        self._publishers.publish_latency(latencies_ms)
        self._scene.add(rgb, prediction.labels, stamp_ns(header), self.stability)
        return "processed"
