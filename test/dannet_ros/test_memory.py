from __future__ import annotations

import gc
import platform
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from dannet_ros import memory
from dannet_ros.memory import Garbage

ROOT = Path(__file__).parents[2]
PROGRAM = """
import resource, sys
import numpy as np
from dannet_ros.memory import keep_freed_buffers

if sys.argv[1] == "keep":
    assert keep_freed_buffers()
np.ones(6_220_800, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    pictures = [np.ones(6_220_800, np.uint8) for _ in range(3)]
    del pictures
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""


def page_faults_a_frame(how: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, cwd=ROOT, timeout=300
    )
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this allocator")
def test_freed_pictures_are_not_handed_back_to_the_kernel() -> None:
    assert page_faults_a_frame("keep") < page_faults_a_frame("leave") / 4


class Ring:
    """Refers to itself: only a search finds that nobody else does."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def clock(monkeypatch) -> Iterator[list[float]]:
    """Seconds, to be set; what Python does about garbage is as before afterwards."""
    now_s, thresholds = [100.0], gc.get_threshold()
    monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    yield now_s
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def lost_ring() -> weakref.ref[Ring]:
    return weakref.ref(Ring())


def test_garbage_is_looked_for_between_frames_and_in_one_only_after_another_second(clock):
    garbage = Garbage()
    garbage.settle()
    garbage.tidy(busy=False)
    for wait_s, busy, is_found in ((0.5, False, False), (0.6, True, False), (0.1, False, True), (1.9, True, False),
                                   (0.2, True, True)):  # fmt: skip
        ring = lost_ring()
        clock[0] += wait_s
        garbage.tidy(busy)
        assert (ring() is None) == is_found, f"{wait_s} s later, busy: {busy}"
        if not is_found:
            gc.collect()


def test_a_search_passes_over_what_was_there_when_the_model_was_opened(clock):
    gc.collect()
    before = len(gc.get_objects())
    garbage = Garbage()
    garbage.settle()
    assert len(gc.get_objects()) < before / 10


def test_what_was_left_out_is_freed_when_it_settles_again(clock):
    garbage, kept = Garbage(), Ring()
    garbage.settle()
    ring = weakref.ref(kept)
    del kept
    garbage.tidy(busy=False)
    assert ring() is not None
    garbage.settle()
    assert ring() is None


@pytest.mark.ros
def test_a_cleaned_up_session_is_freed_at_once(clock, make_rig):
    rig = make_rig(start=False)
    rig.node.on_model_changed = Garbage().settle
    assert rig.node.trigger_configure().name == "SUCCESS"
    session = weakref.ref(rig.node._session)
    gc.disable()
    try:
        assert rig.node.trigger_cleanup().name == "SUCCESS"
        assert session() is None
    finally:
        gc.enable()


def test_what_outlived_some_searches_is_found_within_a_minute(clock):
    garbage, kept = Garbage(), None
    garbage.settle()
    kept = Ring()
    ring = weakref.ref(kept)
    for _ in range(3):
        clock[0] += 2
        garbage.tidy(busy=False)
    del kept
    for _ in range(40):
        clock[0] += 2
        garbage.tidy(busy=False)
    assert ring() is None


def test_few_searches_begin_by_themselves_and_a_flood_of_objects_still_starts_one(clock):
    Garbage().settle()
    rings = [lost_ring() for _ in range(2 * memory._MOST_NEW)]
    assert any(ring() is None for ring in rings)
    assert gc.get_threshold()[0] > 10_000
