"""Everything that lives from configure to cleanup: mailbox, statistics, publishers, pipeline, worker."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event
from typing import Any, Final

from dannet_core import NightSegmenter
from dannet_ros.frame_statistics import FrameStatistics, LostFrames
from dannet_ros.latest_frame import LatestFrame
from dannet_ros.parameters import NodeParameters
from dannet_ros.pipeline import FramePipeline, stamp_ns
from dannet_ros.publishers import Publishers
from dannet_ros.worker import ModelWorker, Received

STOP_TIMEOUT_S: Final = 1.5
"""How long a transition waits for the frame in work; a hung driver call is then left behind."""


class Session:
    """One configured model with its connections. Made and closed by transitions, in the executor thread.

    Attributes:
        parameters: the values it was configured with, live changes included.
    """

    def __init__(self, node: Any, parameters: NodeParameters) -> None:
        self.parameters = parameters
        self.mailbox: LatestFrame[Received] = LatestFrame()
        self.statistics = FrameStatistics()
        self.lost = LostFrames()
        self.publishers = Publishers(node)
        clock = node.get_clock()
        self._pipeline = FramePipeline(
            self.publishers, self.statistics, lambda: int(clock.now().nanoseconds), node.get_logger()
        )
        self.apply(parameters)
        self.worker = ModelWorker(self._open_model, self._pipeline, self.mailbox)
        self.last_received_s = time.monotonic()

    def open(self, stopping: Event) -> str:
        """Open the model and wait for it; returns why that failed, empty when it did not.

        Args:
            stopping: when set, waiting is given up.
        """
        self.worker.start()
        while not self.worker.wait_until_ready(0.1):
            if stopping.is_set():
                return "stopped while the model was being opened"
        return self.worker.failure or ""

    def receive(self, message: Any) -> None:
        """Swap a message into the mailbox: all that the executor thread does for a frame."""
        self.mailbox.put(Received(message, time.perf_counter()))
        self.last_received_s = time.monotonic()
        self.lost.add(stamp_ns(message.header))

    def apply(self, parameters: NodeParameters) -> None:
        """Take over parameters that may change while running; the next frame uses them."""
        self.parameters = parameters
        self._pipeline.settings = parameters.inference_settings()
        self._pipeline.overlay_alpha = parameters.overlay_alpha
        self._pipeline.max_age_ms = parameters.max_age_ms

    def pause(self) -> bool:
        """Let the frame in work finish and drop a waiting one; False when it hangs."""
        self.mailbox.discard()
        return self.mailbox.wait_until_idle(STOP_TIMEOUT_S)

    def close(self) -> bool:
        """Stop the worker, which closes the model, and give the publishers back; False when the worker hangs."""
        if not self.worker.stop(STOP_TIMEOUT_S):
            self._pipeline.abandoned = True
            return False
        self.publishers.destroy()
        return True

    @property
    def counts(self) -> dict[str, int]:
        """Frames by outcome; together with `in_work` they add up to what was received."""
        return self.statistics.counts() | {"replaced": self.mailbox.replaced}

    def _open_model(self) -> NightSegmenter:
        wanted = self.parameters
        segmenter = NightSegmenter.load(
            Path(wanted.model).expanduser(),
            self._pipeline.settings,
            backend=wanted.backend,
            device=wanted.device,
            threads=wanted.threads,
        )
        if wanted.warm_up_height:
            try:
                segmenter.warm_up((wanted.warm_up_height, wanted.warm_up_width))
            except Exception:
                segmenter.close()
                raise
        return segmenter
