"""Everything that lives from configure to cleanup: mailbox, statistics, publishers, pipeline, worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, Final

from dannet_core import NightSegmenter
from dannet_core.errors import NotFiniteError
from dannet_core.tone import ToneMapper
from dannet_ros.camera_input import image_topic
from dannet_ros.depth_topics import why_not_light
from dannet_ros.diagnostics import Health
from dannet_ros.frame_statistics import FrameStatistics, LostFrames
from dannet_ros.latest_frame import LatestFrame
from dannet_ros.model_file import ModelFile
from dannet_ros.model_fit import misfit
from dannet_ros.opening import Opening, open_model
from dannet_ros.parameters import NodeParameters
from dannet_ros.pipeline import FramePipeline, stamp_ns
from dannet_ros.publishers import Publishers
from dannet_ros.scene_figures import SceneFigures
from dannet_ros.stamp_order import Order, StampOrder
from dannet_ros.worker import ModelWorker, Received

STOP_TIMEOUT_S: Final = 1.5
"""How long a transition waits for the frame in work; a hung driver call is then left behind."""
_YIELD_S: Final = 1e-4
"""Python would keep its global lock in this thread until it waits for the next message, a millisecond later."""


class Session:
    """One configured model with its connections. Made and closed by transitions, in the executor thread.

    Attributes:
        parameters: the values it was configured with, live changes included.
    """

    def __init__(self, node: Any, parameters: NodeParameters) -> None:
        self.parameters = parameters
        self.mailbox: LatestFrame[Received] = LatestFrame()
        self.statistics = FrameStatistics()
        self.scene = SceneFigures()
        self.lost = LostFrames()
        self.order = StampOrder()
        self.model_file = ModelFile(Path(parameters.model).expanduser())
        self.publishers = Publishers(node)
        clock = node.get_clock()
        self._opening = Opening(node.get_logger(), lambda: self.mailbox.closed)
        self._pipeline = FramePipeline(
            self.publishers,
            self.statistics,
            self.scene,
            lambda: int(clock.now().nanoseconds),
            node.get_logger(),
        )
        tone, topic = parameters.tone_settings(), image_topic(node, parameters.image_transport)
        self._pipeline.tone = ToneMapper(tone, node.get_logger().info, why_not_light(topic, tone))
        self.apply(parameters)
        self.worker = ModelWorker(self._open_model, self._pipeline, self.mailbox)
        self.last_received_s = time.monotonic()
        self._made_at_s = time.monotonic()
        self._refused = 0

    def open(self, stopping: Event, while_waiting: Callable[[], None]) -> str:
        """Open the model, wait for it, and take back the topics that it cannot fill.

        Returns why that failed, empty when it did not.

        Args:
            stopping: when set, waiting is given up.
            while_waiting: called ten times a second.
        """
        self.worker.start()
        while not self.worker.wait_until_ready(0.1):
            if stopping.is_set():
                return "stopped while the model was being opened"
            while_waiting()
        if self.worker.facts is None:
            return self.worker.failure or ""
        metadata = self.worker.facts.metadata
        self.publishers.withdraw(metadata.absent)
        return misfit(metadata, "outputs", self.parameters.outputs) or ""

    def receive(self, message: Any) -> None:
        """Swap a message into the mailbox, unless it is too old: all that the executor thread does for a frame."""
        at_s, stamp = time.perf_counter(), stamp_ns(message.header)
        self.last_received_s = time.monotonic()
        if self.order.judge(stamp) is Order.OLDER:
            return self._refuse("out_of_order")
        self.lost.add(stamp)
        age_ms = self._pipeline.age_ms(message.header)
        if self._pipeline.is_too_old(age_ms):
            return self._refuse("stale")
        self.mailbox.put(Received(message, at_s, age_ms))
        time.sleep(_YIELD_S)
        return None

    def apply(self, parameters: NodeParameters) -> None:
        """Take over parameters that may change while running; the next frame uses them."""
        self.parameters = parameters
        self._pipeline.settings = parameters.inference_settings()
        self._pipeline.outputs = frozenset(parameters.outputs)
        self._pipeline.overlay_alpha = parameters.overlay_alpha
        self._pipeline.max_age_ms = parameters.max_age_ms
        self._pipeline.stability = parameters.stability
        self._pipeline.tone.tone = parameters.tone

    def pause(self) -> bool:
        """Let the frame in work finish and drop a waiting one; False when it hangs."""
        self.mailbox.discard()
        return self.wait_until_idle(STOP_TIMEOUT_S)

    @property
    def frame_in_work(self) -> bool:
        """Whether a frame is waiting, in work or being published."""
        return self.mailbox.busy or self._pipeline.publishing

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until no frame is waiting, in work or being published; False when either half takes ``timeout_s``."""
        return self.mailbox.wait_until_idle(timeout_s) and self._pipeline.wait_until_published(timeout_s)

    def close(self) -> bool:
        """Stop the worker, which closes the model, and give the publishers back; False when the worker hangs."""
        if not (self.worker.stop(STOP_TIMEOUT_S) and self._pipeline.close(STOP_TIMEOUT_S)):
            self._pipeline.abandoned = True
            return False
        self.publishers.destroy()
        return True

    @property
    def lost_gpu(self) -> str:
        """What the GPU said when it was lost to this process for good; empty while it is there."""
        return self._pipeline.lost

    @property
    def received(self) -> int:
        """Frames that came while active."""
        return self.mailbox.received + self._refused

    @property
    def counts(self) -> dict[str, int]:
        """Frames by outcome; together with those waiting or in work they add up to `received`."""
        return self.statistics.counts() | {"replaced": self.mailbox.replaced}

    def health(self, node: Health, now_s: float) -> Health:
        """What the node knows of itself, with what the session adds at ``now_s`` of `time.monotonic`."""
        counts, received, lost_at_s = self.counts, self.received, self.lost.last_lost_at_s
        return node._replace(
            opening_s=now_s - self._made_at_s,
            opening=self._opening.now,
            received=received,
            counts=counts,
            in_work=received - sum(counts.values()),
            silence_s=now_s - self.last_received_s,
            lost=self.lost.lost,
            lost_ago_s=None if lost_at_s is None else now_s - lost_at_s,
            repeated=self.order.repeated,
            time_jumps=node.time_jumps + self.order.restarts,
            busy_s=self.worker.busy_s,
            spreads=self.statistics.spreads(),
            last_problem=self.statistics.last_problem,
            intensity=self.scene.intensity,
            changed_share=self.scene.changed_share,
            model_file_problem=self.model_file.problem(),
            facts=self.worker.facts,
            samples=self._pipeline.tone.described,
        )

    def _refuse(self, outcome: str) -> None:
        self._refused += 1
        self.statistics.count(outcome)

    def _open_model(self) -> NightSegmenter:
        wanted = self.parameters
        segmenter = open_model(wanted, self._pipeline.settings, self._opening)
        if wanted.warm_up_height:
            self._opening.now = "warming up"
            try:
                segmenter.warm_up((wanted.warm_up_height, wanted.warm_up_width))
            except NotFiniteError as error:
                self._opening.log.warning(
                    f"black warm-up picture: {error}"
                )  # the camera's may be labelled all the same
            except Exception:
                segmenter.close()
                raise
        return segmenter
