"""A frame's way through the worker thread: message, picture, prediction, published outputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from dannet_core import InferenceSettings, NightSegmenter, Prediction
from dannet_core.errors import DannetError, EngineError, ImageError
from dannet_core.inference.camera_image import CameraImage
from dannet_core.tone import ToneMapper
from dannet_ros.conversions import to_camera
from dannet_ros.frame_statistics import FrameStatistics
from dannet_ros.outgoing import Outgoing, Picture
from dannet_ros.parameters import OUTPUT_NAMES
from dannet_ros.publishers import Publishers
from dannet_ros.publishing_thread import PublishingThread
from dannet_ros.scene_figures import SceneFigures
from dannet_ros.worker import Received, TakeWaiting

_Result = TypeVar("_Result")
_MADE_WITH_LABELS: Final = MappingProxyType({"color": "color", "overlay": "overlay", "confidence": "confidence_bytes"})
LOG_PERIOD_S: Final = 1.0


def stamp_ns(header: Any) -> int:
    """A header's stamp in nanoseconds; any int32 seconds and uint32 nanoseconds will do."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


class _Begun(NamedTuple):
    """A frame that the model has."""

    received: Received
    camera: CameraImage
    wanted: set[str]
    alpha: float
    latencies_ms: dict[str, float]
    outgoing: Outgoing


class FramePipeline:
    """Labels received messages and accounts for each, whatever it holds.

    Where a device does the work, a frame that waits already is begun before the one before it is published: the network
    works while the CPU publishes, and nothing is queued that a newer frame could still replace. Where a CPU does all, a
    frame is published in a thread of its own beside the next one's work.

    Attributes:
        settings: how pictures become labels; the executor thread may set a new object between frames.
        outputs: names of the outputs that may be made, likewise.
        overlay_alpha: opacity of the overlay, likewise.
        max_age_ms: frames older than this are dropped; 0 = off.
        stability: compare labels with those of the frame before.
        tone: what makes bytes of samples of 16 bits.
        abandoned: set when the worker was left behind: a frame that ends after all is not published any more.
        lost: what the GPU said when it was lost for good; empty while it is there.
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
        self.tone = ToneMapper()
        self.abandoned = False
        self.lost = ""
        self._publishing = PublishingThread()

    def __call__(self, segmenter: NightSegmenter, received: Received, take_waiting: TakeWaiting) -> None:
        """Process one frame, and those begun meanwhile; never raises: the next frame may be a good one.

        Args:
            segmenter: the model.
            received: the frame.
            take_waiting: gives a frame that waits already, None when none does.
        """
        begun = self._accounted(partial(self._begin, segmenter, received))
        while begun is not None:
            prediction = self._accounted(segmenter.collect)
            following = self._begin_next(segmenter, take_waiting()) if segmenter.on_device else None
            if prediction is not None:
                self._accounted(partial(self._end, begun, prediction, beside=not segmenter.on_device))
            begun = following

    @property
    def publishing(self) -> bool:
        """Whether a frame is being published beside the next one's work."""
        return self._publishing.busy

    def wait_until_published(self, timeout_s: float) -> bool:
        """Wait for the last frame to be out; False when that took longer than ``timeout_s``."""
        return self._publishing.wait_until_idle(timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Publish what is to be published and end the thread; False when it still hangs after ``timeout_s``."""
        return self._publishing.close(timeout_s)

    def age_ms(self, header: Any) -> float:
        """Milliseconds since the header's stamp, by the node's clock; negative when the stamp lies ahead."""
        return (self._now_ns() - stamp_ns(header)) / 1e6

    def is_too_old(self, age_ms: float) -> bool:
        """Whether a frame of that age is to be dropped."""
        return 0 < self.max_age_ms < age_ms

    def _accounted(self, step: Callable[[], _Result]) -> _Result | None:
        """What a step gives; None where it failed, which is the frame's outcome then."""
        try:
            return step()
        except ImageError as error:
            outcome, problem = "malformed", str(error)
            self._log.warning(f"frame dropped: {problem}", throttle_duration_sec=LOG_PERIOD_S)
        except Exception as error:  # noqa: BLE001  a driver or runtime error on one frame must not end the node
            problem = str(error) if isinstance(error, DannetError) else f"{type(error).__name__}: {error}"
            outcome, problem = "failed", problem.partition("\n")[0]
            if isinstance(error, EngineError) and error.fatal:
                self.lost = problem
            self._log.error(f"frame failed: {problem}", throttle_duration_sec=LOG_PERIOD_S)
        self._statistics.count(outcome, problem)
        return None

    def _begin_next(self, segmenter: NightSegmenter, received: Received | None) -> _Begun | None:
        return None if received is None else self._accounted(partial(self._begin, segmenter, received))

    def _begin(self, segmenter: NightSegmenter, received: Received) -> _Begun | None:
        """Hand a frame to the model; None, and counted, where it is not to be labelled."""
        header = received.message.header
        wanted = self._publishers.wanted() & self.outputs
        if not wanted:
            self._publishers.publish_camera_info(header)
            self._statistics.count("unwatched")
            return None
        if self.is_too_old(self.age_ms(header)):
            self._statistics.count("stale")
            return None
        taken_s = time.perf_counter()
        camera = to_camera(received.message, self.tone)
        latencies_ms = {
            "receive": received.age_ms,
            "wait": (taken_s - received.at_s) * 1e3,
            "convert": (time.perf_counter() - taken_s) * 1e3,
        }
        if segmenter.settings is not self.settings:
            segmenter.settings = self.settings
        alpha = self.overlay_alpha
        outputs = [made for name, made in _MADE_WITH_LABELS.items() if name in wanted]
        outgoing = self._publishers.next_outgoing()
        into = {} if segmenter.on_device else outgoing.buffers(camera.size, wanted, self.stability)
        segmenter.submit(camera, with_relit="relit" in wanted, outputs=outputs, alpha=alpha, into=into)
        return _Begun(received, camera, wanted, alpha, latencies_ms, outgoing)

    def _end(self, begun: _Begun, prediction: Prediction, beside: bool) -> None:
        """Publish what came of a frame and count it; ``beside``: while the next one is in work."""
        if self.abandoned:
            self._statistics.count("stale")
            return
        collected_s = time.perf_counter()
        if "relit" in begun.wanted:
            # Made now: a frame whose relit picture fails publishes nothing at all.
            prediction.write_relit(begun.outgoing.pixels("relit", begun.camera.size))
        labelled_s = time.perf_counter()
        latencies_ms = begun.latencies_ms | prediction.timings_ms
        latencies_ms["postprocess"] = latencies_ms.get("postprocess", 0.0) + (labelled_s - collected_s) * 1e3
        if self.is_too_old(self.age_ms(begun.received.message.header)):
            self._statistics.add_latencies(latencies_ms)  # they show which stage made it late
            self._statistics.count("late")
            return
        publish = partial(self._publish, begun, prediction, latencies_ms, labelled_s)
        if beside:
            self._publishing.hand_over(partial(self._accounted, publish))
        else:
            publish()

    def _publish(
        self, begun: _Begun, prediction: Prediction, latencies_ms: dict[str, float], labelled_s: float
    ) -> None:
        header = begun.received.message.header
        picture = Picture(prediction, begun.camera, begun.alpha)
        self._publishers.publish(header, picture, begun.wanted, begun.outgoing)
        self._publishers.publish_camera_info(header)
        done_s = time.perf_counter()
        latencies_ms |= {
            "publish": (done_s - labelled_s) * 1e3,
            "total": (done_s - begun.received.at_s) * 1e3,
            "age": self.age_ms(header),
        }
        self._statistics.add_latencies(latencies_ms)
        self._publishers.publish_latency(latencies_ms)
        self._scene.add(begun.camera.mean_intensity(), prediction.labels, stamp_ns(header), self.stability)
        self._statistics.count("processed")
