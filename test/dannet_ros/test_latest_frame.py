from __future__ import annotations

import threading
import time

from dannet_ros.latest_frame import LatestFrame


def test_keeps_newest_frame_and_counts_replaced_ones() -> None:
    mailbox: LatestFrame[int] = LatestFrame()
    for frame in range(5):
        mailbox.put(frame)
    assert mailbox.take(0.0) == 4
    assert mailbox.take(0.0) is None
    assert (mailbox.received, mailbox.replaced) == (5, 4)


def test_take_wakes_up_for_a_frame_of_another_thread() -> None:
    mailbox: LatestFrame[str] = LatestFrame()
    taken: list[str | None] = []
    reader = threading.Thread(target=lambda: taken.append(mailbox.take(300.0)))
    reader.start()
    mailbox.put("frame")
    reader.join(300.0)
    assert taken == ["frame"]


def test_close_wakes_the_reader_and_refuses_frames() -> None:
    mailbox: LatestFrame[str] = LatestFrame()
    taken: list[str | None] = ["not yet"]
    reader = threading.Thread(target=lambda: taken.append(mailbox.take(300.0)))
    reader.start()
    mailbox.close()
    reader.join(300.0)
    assert not reader.is_alive()
    mailbox.put("too late")
    assert taken == ["not yet", None]
    assert mailbox.closed
    assert (mailbox.received, mailbox.take(0.0)) == (0, None)


def test_is_idle_only_when_the_taken_frame_is_finished() -> None:
    mailbox: LatestFrame[str] = LatestFrame()
    mailbox.put("frame")
    assert not mailbox.wait_until_idle(0.0)
    mailbox.take(0.0)
    assert not mailbox.wait_until_idle(0.0), "a taken frame is in work until the next take"
    mailbox.take(0.0)
    assert mailbox.wait_until_idle(0.0)


def test_discarded_frames_count_as_replaced() -> None:
    mailbox: LatestFrame[str] = LatestFrame()
    mailbox.put("frame")
    mailbox.discard()
    mailbox.discard()
    assert mailbox.take(0.0) is None
    assert (mailbox.received, mailbox.replaced) == (1, 1)


def test_accounts_for_every_frame_under_a_fast_writer() -> None:
    mailbox: LatestFrame[int] = LatestFrame()
    taken: list[int] = []

    def read() -> None:
        while not mailbox.closed:
            frame = mailbox.take(1.0)
            if frame is not None:
                taken.append(frame)

    reader = threading.Thread(target=read)
    reader.start()
    for frame in range(20_000):
        mailbox.put(frame)
    deadline = time.monotonic() + 300
    while not mailbox.wait_until_idle(0.1) and time.monotonic() < deadline:
        pass
    mailbox.close()
    reader.join(300.0)
    assert taken == sorted(set(taken)), "in order, none twice"
    assert taken[-1] == 19_999
    assert len(taken) + mailbox.replaced == mailbox.received == 20_000


def test_frames_that_nobody_waited_for_leave_nothing_behind() -> None:
    mailbox: LatestFrame[int] = LatestFrame()
    for frame in range(100):
        mailbox.put(frame)
        assert mailbox.take_waiting() == frame
        mailbox.put(frame)
        mailbox.discard()
        mailbox.put(frame)
        mailbox.put(frame + 1)
        assert mailbox.take(0.0) == frame + 1
    assert mailbox._arrivals.qsize() == 0
    assert mailbox.take(0.0) is None
    mailbox.put(7)
    assert mailbox.take(0.0) == 7
