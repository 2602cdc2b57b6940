"""Real-time priority: every thread has it, those that start later too; without the right nothing changes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dannet_ros.realtime import RealtimePriority

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="this system has no such priorities")
PROGRAM = """
import os, sys, threading
from pathlib import Path
from dannet_ros.realtime import RealtimePriority

def policies():
    return {(os.sched_getscheduler(t), os.sched_getparam(t).sched_priority)
            for t in (int(p.name) for p in Path("/proc/self/task").iterdir())}

end = threading.Event()
threads = [threading.Thread(target=end.wait) for _ in range(3)]
threads[0].start(), threads[1].start()
before, priority = policies(), RealtimePriority()
assert priority.take(0) == "" and policies() == before
problem = priority.take(7)
if problem:
    end.set()
    sys.exit(problem)
threads[2].start()
assert policies() == {(os.SCHED_RR, 7)}, policies()
priority.give_back()
assert policies() == before, policies()
priority.give_back()
end.set()
"""


def may() -> bool:
    """Whether this user may have such a priority: asked of a process of its own."""
    ask = "import os; os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))"
    return subprocess.run([sys.executable, "-c", ask], capture_output=True, check=False, timeout=60).returncode == 0


needs_right = pytest.mark.skipif(
    hasattr(os, "sched_setscheduler") and not may(), reason="needs the right to a real-time priority (root, or rtprio)"
)


@needs_right
def test_all_threads_have_it_and_give_it_back() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, cwd=ROOT, timeout=120)


def test_without_the_right_nothing_changes_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refused(_thread: int, policy: int, _parameters: Any) -> None:
        asked.append(policy)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    priority = RealtimePriority()
    problem = priority.take(10)
    assert problem.startswith(
        "got 10, expected 0 without the right to it (Operation not permitted): allow it (rtprio in"
    )
    assert "\n" not in problem
    assert asked == [os.SCHED_RR, os.sched_getscheduler(0)]
    priority.give_back()
    assert len(asked) == 2


def node_policies() -> set[tuple[int, int]]:
    found = set()
    for entry in Path("/proc/self/task").iterdir():
        try:
            thread = int(entry.name)
            found.add((os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority))
        except ProcessLookupError:
            continue
    return found


@pytest.mark.ros
@needs_right
def test_the_node_has_it_while_it_is_configured(make_rig: Callable[..., Any]) -> None:
    before = node_policies()
    rig = make_rig(realtime_priority=3)
    assert node_policies() == {(os.SCHED_RR, 3)}
    assert rig.node.trigger_deactivate().name == "SUCCESS"
    assert rig.node.trigger_cleanup().name == "SUCCESS"
    assert node_policies() == before


@pytest.mark.ros
def test_a_priority_that_is_refused_stops_configure(
    make_rig: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    threads = threading.active_count()
    rig = make_rig(start=False, realtime_priority=3)
    assert rig.node.trigger_configure().name == "FAILURE"
    assert rig.node.failure.startswith("parameter realtime_priority: got 3, expected 0 without the right to it")
    assert threading.active_count() <= threads + 2  # no model was opened
