"""The node as a process of its own, and a client that drives it over DDS and looks at it through /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 60.0
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


class RunningNode:
    """`python -m dannet_ros.node` with a camera, a subscriber of ~/label and one of /diagnostics beside it."""

    def __init__(self, model: Path, *parameters: str, program: tuple[str, ...] = ("-m", "dannet_ros.node")) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor

        self.model = model
        self._program = program
        self._words = ["-p", f"model:={model}", "-p", "diagnostics_period_s:=0.2", "-p", "warm_up_height:=0"]
        self._words += ["-p", "warm_up_width:=0", "-p", "threads:=1", *(w for p in parameters for w in ("-p", p))]
        self._picture = np.random.default_rng(1).integers(0, 60, (270, 480, 3), np.uint8)
        self._folder = tempfile.TemporaryDirectory()
        self._log = (Path(self._folder.name) / "log").open("a+")
        self.rclpy = rclpy
        self.client = rclpy.create_node("bench_client")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.client)
        self.status: Any = None
        self._lifecycle: Any = None
        self.client.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.labels: list[Any] = []
        self.process = self.start()

    def start(self) -> subprocess.Popen[str]:
        """Start the node's process anew."""
        command = [sys.executable, *self._program, "--ros-args", *self._words]
        self.status = None
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=self._log, stderr=subprocess.STDOUT, text=True)
        return self.process

    def until(self, condition: Callable[[], Any], what: str, each: Callable[[], None] = lambda: None) -> None:
        """Spin until it holds; ends the program with the node's log when it does not in time."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise SystemExit(
                    f"did not happen within {PATIENCE_S:.0f} s: {what}; the node's log: {self.log()[-800:]}"
                )
            each()
            self._executor.spin_once(timeout_sec=0.02)

    def until_state(self, state: str) -> None:
        """Wait until diagnostics report that lifecycle state."""
        self.until(lambda: self.value("state") == state, f"state {state}")

    @property
    def message(self) -> str:
        """The last diagnostics' text; empty when there is none."""
        return "" if self.status is None else str(self.status.message)

    def value(self, key: str) -> str:
        """A figure of the last diagnostics; empty when there is none."""
        pairs = {} if self.status is None else {pair.key: pair.value for pair in self.status.values}
        return pairs.get(key, "")

    def camera(self, node: Any = None, topic: str = "image") -> Any:
        """A publisher of pictures, once the node listens to it."""
        from sensor_msgs.msg import Image

        publisher = (node or self.client).create_publisher(Image, topic, 1)
        self.until(lambda: publisher.get_subscription_count() > 0, "the node listens to the camera")
        return publisher

    def listen(self) -> Any:
        """Subscribe ~/label."""
        from sensor_msgs.msg import Image

        return self.client.create_subscription(Image, "night_seg/label", self.labels.append, 1)

    def send(self, publisher: Any, name: str, stamp: Any = None) -> None:
        """One frame whose frame_id is ``name``."""
        from std_msgs.msg import Header

        from dannet_ros.conversions import to_image

        stamp = stamp or self.client.get_clock().now().to_msg()
        publisher.publish(to_image(self._picture, "rgb8", Header(frame_id=name, stamp=stamp)))

    def is_labelled(self, publisher: Any, name: str) -> None:
        """Send frames of that name until a label of that name comes back."""
        self.labels.clear()
        self.until(
            lambda: any(label.header.frame_id == name for label in self.labels),
            f"a label for {name}",
            lambda: self.send(publisher, name),
        )

    def change_state(self, transition: str) -> bool:
        """What `ros2 lifecycle set` does; True when it succeeded."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        # One client for all: every new one leaves some kilobytes in the node's middleware.
        if self._lifecycle is None:
            self._lifecycle = self.client.create_client(ChangeState, "night_seg/change_state")
        self.until(self._lifecycle.service_is_ready, "the lifecycle services")
        future = self._lifecycle.call_async(ChangeState.Request(transition=Transition(label=transition)))
        self.until(future.done, f"transition {transition}")
        return bool(future.result().success)

    def footprint(self) -> dict[str, float]:
        """Threads, open files and resident memory of the node's process."""
        folder = Path(f"/proc/{self.process.pid}")
        resident = int((folder / "statm").read_text().split()[1]) * PAGE_MB
        return {
            "threads": len(list((folder / "task").iterdir())),
            "files": len(list((folder / "fd").iterdir())),
            "rss_mb": round(resident, 1),
        }

    def signal(self, number: signal.Signals) -> dict[str, float]:
        """Send it and wait; exit code and seconds."""
        start = time.monotonic()
        self.process.send_signal(number)
        return {"exit_code": self.process.wait(30), "seconds": round(time.monotonic() - start, 2)}

    def log(self) -> str:
        """What the node printed so far."""
        self._log.seek(0)
        return self._log.read()

    def close(self) -> None:
        """End everything."""
        self.process.kill()
        self.process.wait()
        self._executor.shutdown()
        self.client.destroy_node()
        self._log.close()
        self._folder.cleanup()

    def _on_diagnostics(self, message: Any) -> None:
        self.status = message.status[0]
