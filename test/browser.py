"""A headless Chromium, driven by its DevTools protocol over a pipe: no package is needed for it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "DANNET_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions", "--hide-scrollbars")
_OFFLINE = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--dns-prefetch-disable")


def find_browser() -> str:
    """The browser's program; skips the test where there is none."""
    found = os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: install chromium, or name one by {VARIABLE}")
    return found


class Browser:
    """One page.

    Attributes:
        requests: addresses that pages asked for, data URIs left out.
        errors: what scripts threw.
    """

    def __init__(self, write: Any, read: Any) -> None:
        self._write, self._read, self._number = write, read, 0
        self._events: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self._send("Target.createTarget", {"url": "about:blank"}, None)["targetId"]
        attached = self._send("Target.attachToTarget", {"targetId": target, "flatten": True}, None)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self._send(f"{domain}.enable")

    def size(self, width: int, height: int) -> None:
        self._send(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def open(self, path: Path, wait: str = "document.readyState === 'complete'") -> float:
        """Open a file; returns the seconds until ``wait`` holds."""
        start = time.monotonic()
        self._send("Page.navigate", {"url": path.absolute().as_uri()})
        self.wait(f"location.pathname.endsWith({json.dumps(path.name)}) && ({wait})")
        return time.monotonic() - start

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        result = self._send("Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True})
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not self.value(expression):
            assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for: {expression}"
            time.sleep(0.02)

    def mouse(self, kind: str, x: float, y: float, clicks: int = 0) -> None:
        button = "left" if kind != "Moved" or clicks else "none"
        self._send(
            "Input.dispatchMouseEvent",
            {"type": f"mouse{kind}", "x": x, "y": y, "button": button, "clickCount": clicks,
             "buttons": int(button == "left" and kind != "Released")},
        )  # fmt: skip

    def click(self, x: float, y: float) -> None:
        self.mouse("Moved", x, y)
        time.sleep(0.2)
        self.mouse("Pressed", x, y, 1)
        self.mouse("Released", x, y, 1)

    def drag(self, x: float, y: float, to_x: float) -> None:
        self.mouse("Moved", x, y)
        self.mouse("Pressed", x, y, 1)
        for step in range(1, 9):
            self.mouse("Moved", x + (to_x - x) * step / 8, y, 1)
        self.mouse("Released", to_x, y, 1)

    def key(self, name: str) -> None:
        code = {"ArrowRight": 39, "ArrowLeft": 37, "Tab": 9, " ": 32}[name]
        for kind in ("keyDown", "keyUp"):
            self._send("Input.dispatchKeyEvent", {"type": kind, "key": name, "windowsVirtualKeyCode": code})

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        options = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            box = self._send("Page.getLayoutMetrics")["cssContentSize"]
            options["clip"] = {**box, "scale": 1}
        path.write_bytes(base64.b64decode(self._send("Page.captureScreenshot", options)["data"]))

    def _send(self, method: str, parameters: dict[str, Any] | None = None, session: str | None = "") -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters or {}}
        if session == "":
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while (answer := self._next()).get("id") != self._number:
            self._take(answer)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        data = bytearray()
        while (byte := self._read.read(1)) != b"\0":
            assert byte, "the browser is gone"
            data += byte
        answer: dict[str, Any] = json.loads(data)
        return answer

    def _take(self, event: dict[str, Any]) -> None:
        about = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent" and not about["request"]["url"].startswith("data:"):
            self.requests.append(about["request"]["url"])
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(about["exceptionDetails"]))


@contextmanager
def browser(program: str) -> Iterator[Browser]:
    """Start a browser with a profile of its own."""
    to_browser, from_browser = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(prefix="browser_", ignore_cleanup_errors=True) as profile:

        def pipes() -> None:
            # The protocol's pipe is file descriptors 3 and 4.
            read, write = os.dup(to_browser[0]), os.dup(from_browser[1])
            os.dup2(read, 3)
            os.dup2(write, 4)

        command = [program, *_QUIET, *_OFFLINE, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        # The names of the pipe are two numbers, which pass_fds cannot give.
        process = subprocess.Popen(
            command,
            preexec_fn=pipes,  # noqa: PLW1509  only dup2 between fork and exec
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        try:
            with os.fdopen(to_browser[1], "wb") as write, os.fdopen(from_browser[0], "rb") as read:
                yield Browser(write, read)
        finally:
            process.terminate()
            process.wait(timeout=30)
