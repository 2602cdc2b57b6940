"""The one thread that opens, uses and closes the model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from dannet_core import NightSegmenter
from dannet_core.errors import DannetError, first_line
from dannet_core.metadata import ModelMetadata
from dannet_ros.latest_frame import LatestFrame


class Received(NamedTuple):
    """A message as it came.

    Attributes:
        message: sensor_msgs Image or CompressedImage.
        at_s: when it came, seconds of `time.perf_counter`.
        age_ms: how old it was then by its stamp and the node's clock, milliseconds.
    """

    message: Any
    at_s: float
    age_ms: float


TakeWaiting = Callable[[], Received | None]


class ModelFacts(NamedTuple):
    """What other threads may know about the model.

    Attributes:
        metadata: what its file says.
        backend: what runs it.
        device: where.
        why: why that backend; empty where it was given.
        outputs_by: what makes labels and more of its logits, see `NightSegmenter.outputs_by`.
    """

    metadata: ModelMetadata
    backend: str
    device: str
    why: str
    outputs_by: str


class ModelWorker:
    """Opens the model, labels what comes into the mailbox, closes the model, all in one thread.

    GPU contexts belong to the thread that made them, so nobody else touches the model. The thread is a daemon: a hung
    driver call must not keep the process alive.
    """

    def __init__(
        self,
        open_model: Callable[[], NightSegmenter],
        label: Callable[[NightSegmenter, Received, TakeWaiting], None],
        mailbox: LatestFrame[Received],
    ) -> None:
        self._open_model = open_model
        self._label = label
        self._mailbox = mailbox
        self._ready = threading.Event()
        self._busy_since_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="night_seg worker", daemon=True)
        self.facts: ModelFacts | None = None
        self.failure: str | None = None

    def start(self) -> None:
        """Begin opening the model."""
        self._thread.start()

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait for the model to be open, or for `failure` to say why it is not; False when it takes longer."""
        return self._ready.wait(timeout_s)

    @property
    def busy_s(self) -> float:
        """For how long the current frame has been in work; 0 between frames."""
        since = self._busy_since_s
        return 0.0 if since is None else time.monotonic() - since

    def stop(self, timeout_s: float) -> bool:
        """Finish the current frame and close the model; False when the thread still hangs after ``timeout_s``."""
        self._mailbox.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            segmenter = self._open_model()
        except DannetError as error:
            self.failure = str(error)
        except Exception as error:  # noqa: BLE001  whatever a model file provokes must become a refused configure
            self.failure = f"{type(error).__name__}: {first_line(error)}"
        else:
            self.facts = ModelFacts(
                segmenter.metadata, segmenter.backend_name, segmenter.device, segmenter.why, segmenter.outputs_by
            )
            with segmenter:
                self._ready.set()
                self._label_all(segmenter)
        finally:
            self._ready.set()

    def _label_all(self, segmenter: NightSegmenter) -> None:
        while not self._mailbox.closed:
            received = self._mailbox.take(timeout_s=1.0)
            if received is not None:
                self._busy_since_s = time.monotonic()
                self._label(segmenter, received, self._take_waiting)
                self._busy_since_s = None

    def _take_waiting(self) -> Received | None:
        received = self._mailbox.take_waiting()
        if received is not None:
            self._busy_since_s = time.monotonic()
        return received
