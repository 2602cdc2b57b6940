from __future__ import annotations

import pytest

from dannet_ros.stamp_order import RESTART_NS, Order, StampOrder

FRAME_NS = 33_333_333


def judged(*stamps_ns: int) -> list[Order]:
    order = StampOrder()
    return [order.judge(stamp) for stamp in stamps_ns]


def test_advancing_stamps_are_newer_whatever_the_gap() -> None:
    assert judged(-5, 0, 1, 10**18) == [Order.NEWER] * 4


def test_a_late_frame_is_told_from_those_after_it() -> None:
    assert judged(0, 2 * FRAME_NS, FRAME_NS, 3 * FRAME_NS) == [Order.NEWER, Order.NEWER, Order.OLDER, Order.NEWER]


@pytest.mark.parametrize("back_ns", [RESTART_NS, 60 * RESTART_NS])
def test_a_long_way_back_is_a_source_that_started_over(back_ns: int) -> None:
    order = StampOrder()
    stamps = [back_ns + i * FRAME_NS for i in range(3)]
    assert [order.judge(s) for s in [*stamps, stamps[-1] - back_ns]][-1] is Order.RESTARTED
    assert order.judge(stamps[-1] - back_ns + FRAME_NS) is Order.NEWER
    assert order.restarts == 1


def test_a_short_bag_that_loops_is_dropped_for_a_few_frames_only() -> None:
    loop = [i * FRAME_NS for i in range(10)]
    order = StampOrder()
    found = [order.judge(stamp) for stamp in loop * 3]
    assert found.count(Order.RESTARTED) == order.restarts == 2
    assert found.count(Order.OLDER) == 8
    assert found[10:14] == [Order.OLDER] * 4


def test_repeated_stamps_are_counted_and_accepted() -> None:
    order = StampOrder()
    assert [order.judge(0) for _ in range(3)] == [Order.NEWER, Order.REPEATED, Order.REPEATED]
    assert order.repeated == 2


def test_after_a_clock_was_set_any_stamp_is_the_first() -> None:
    order = StampOrder()
    order.judge(FRAME_NS)
    order.forget()
    assert order.judge(0) is Order.NEWER
    assert order.restarts == 0
