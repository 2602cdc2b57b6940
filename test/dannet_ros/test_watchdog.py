from __future__ import annotations

from dannet_ros.watchdog import Watchdog


class Watched:
    """A worker that is busy for as long as the test says, and a log that keeps what it is told."""

    def __init__(self) -> None:
        self.busy_s = 0.0
        self.reports: list[float] = []
        self.lines: list[str] = []
        self.error = self.info = self.lines.append
        self.dog = Watchdog(self, lambda: self.busy_s, lambda: 0.5, lambda: self.reports.append(self.busy_s))

    def look(self, *busy_s: float) -> None:
        for self.busy_s in busy_s:
            self.dog.look()


def test_quick_frames_are_not_reported() -> None:
    watched = Watched()
    watched.look(0.0, 0.1, 0.4, 0.0)
    assert not watched.lines
    assert not watched.reports


def test_begin_and_end_of_a_hang_are_each_reported_once() -> None:
    watched = Watched()
    watched.look(0.4, 0.6, 0.7, 3.0)
    assert len(watched.lines) == 1
    assert "hangs: 0.6 s with one frame, hang_ms is 500" in watched.lines[0]
    assert watched.reports == [0.6]
    watched.look(0.0, 0.1)
    assert watched.lines[1:] == ["the worker is back after about 3.0 s"]
    assert watched.reports == [0.6, 0.0]


def test_two_hangs_are_two_reports() -> None:
    watched = Watched()
    watched.look(1.0, 0.0, 2.0)
    assert [line for line in watched.lines if "hangs" in line] == [watched.lines[0], watched.lines[2]]
