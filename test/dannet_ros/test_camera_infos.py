"""Pairing camera_info with labels, without ROS."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from dannet_ros.camera_infos import INFOS_KEPT, STAMPS_KEPT, CameraInfos


def message(sec: int, nanosec: int = 0) -> Any:
    return SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec)))


def test_whichever_comes_first_it_is_given_out_once() -> None:
    infos, early, late = CameraInfos(), message(1), message(2)
    assert not infos.came(early)
    assert infos.take(early.header) is early
    assert infos.take(late.header) is None
    assert infos.came(late)
    assert not infos.came(late), "its labels have theirs"


def test_another_stamps_is_never_given_out() -> None:
    infos = CameraInfos()
    assert not infos.came(message(1, 5))
    assert infos.take(message(1, 6).header) is None
    assert not infos.came(message(1, 7))


def test_a_driver_that_sets_no_stamp_gets_one_for_each_frame() -> None:
    infos, unset = CameraInfos(), message(0)
    for _ in range(3):
        assert infos.take(unset.header) is None
        assert infos.came(unset)


def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    infos = CameraInfos()
    for second in range(INFOS_KEPT + 1):
        infos.came(message(second))
    assert len(infos) == INFOS_KEPT
    assert infos.take(message(0).header) is None
    for second in range(1000, 1000 + STAMPS_KEPT):
        infos.take(message(second).header)
    assert not infos.came(message(0)), "too long ago"
    assert infos.came(message(1000))
