from __future__ import annotations

import numpy as np
import pytest

from dannet_ros.frame_statistics import OUTCOMES, WINDOW, FrameStatistics, LostFrames

FRAME_NS = 33_333_333


def test_percentiles_of_a_window() -> None:
    statistics = FrameStatistics()
    for value in range(100):
        statistics.add_latencies({"infer": float(value)})
    assert statistics.spreads() == {"infer": (50.0, 95.0, 99.0)}


def test_window_forgets_old_frames() -> None:
    statistics = FrameStatistics()
    for value in [1e9] * WINDOW + [2.0] * WINDOW:
        statistics.add_latencies({"total": value})
    assert statistics.spreads()["total"].p99 == 2.0


def test_counts_outcomes_and_remembers_the_last_reason() -> None:
    statistics = FrameStatistics()
    statistics.count("malformed", "step: got 0")
    statistics.count("processed")
    assert statistics.counts() == {**dict.fromkeys(OUTCOMES, 0), "malformed": 1, "processed": 1}
    assert statistics.last_problem == "step: got 0"


def gaps_after(stamps_ns: list[int]) -> LostFrames:
    gaps = LostFrames()
    for stamp in stamps_ns:
        gaps.add(stamp)
    return gaps


@pytest.mark.parametrize("lost", [0, 1, 2, 7])
def test_counts_frames_missing_between_stamps(lost: int) -> None:
    before = [i * FRAME_NS for i in range(10)]
    after = [(10 + lost + i) * FRAME_NS for i in range(10)]
    gaps = gaps_after(before + after)
    assert gaps.lost == lost
    assert (gaps.last_lost_at_s is None) == (lost == 0)


def test_every_second_frame_missing_is_counted_and_the_last_gap_when_it_ends() -> None:
    stamps = [i for i in range(40) if i < 20 or i % 2 == 0]
    gaps = gaps_after([stamp * FRAME_NS for stamp in stamps])
    assert gaps.lost == 8
    gaps.add(39 * FRAME_NS)
    assert gaps.lost == 9


@pytest.mark.parametrize("late_by", [0.55, 0.8, 0.97])
def test_a_late_frame_is_not_a_lost_one(late_by: float) -> None:
    """A camera driver that was held up once: the frame after comes early."""
    stamps = [i * FRAME_NS for i in range(30)]
    stamps[15] += round(late_by * FRAME_NS)
    gaps = gaps_after(stamps)
    assert gaps.lost == 0
    assert gaps.last_lost_at_s is None


def test_a_gap_before_a_pause_counts_and_the_pause_does_not() -> None:
    """A camera that stumbles, is unplugged, and comes back a minute later."""
    stamps = [*range(20), 21, *range(1821, 1830)]
    assert gaps_after([stamp * FRAME_NS for stamp in stamps]).lost == 1


def test_what_the_middleware_reports_counts_where_it_is_more() -> None:
    lost = gaps_after([i * FRAME_NS for i in range(20) if i != 12])
    assert lost.lost == 1
    lost.add_reported(1)
    assert lost.lost == 1, "the same frame"
    lost.add_reported(40)
    assert lost.lost == 41


def test_jitter_is_no_loss() -> None:
    stamps = [i * FRAME_NS + (-1) ** i * FRAME_NS // 6 for i in range(50)]
    assert gaps_after(stamps).lost == 0


def test_looping_bags_and_long_pauses_are_no_loss() -> None:
    drive = [i * FRAME_NS for i in range(40)]
    later = [100 * 10**9 + stamp for stamp in drive]
    assert gaps_after(drive + drive + later).lost == 0


def test_standing_stamps_are_no_loss() -> None:
    assert gaps_after([0] * 50 + [FRAME_NS] * 50).lost == 0


def test_a_camera_without_a_rate_loses_nothing_that_could_be_known() -> None:
    generator = np.random.default_rng(5)
    stamps = np.cumsum(generator.uniform(0.2, 6.0, 400) * FRAME_NS).astype(int)
    assert gaps_after([int(stamp) for stamp in stamps]).lost == 0


def test_heavy_loss_of_a_steady_camera_is_seen() -> None:
    generator = np.random.default_rng(6)
    kept = [*range(20)] + [frame for frame in range(20, 400) if generator.random() > 0.4]
    jitter = generator.uniform(-0.03, 0.03, 400) * FRAME_NS
    lost = gaps_after([int(frame * FRAME_NS + jitter[frame]) for frame in kept]).lost
    assert 0.3 * (400 - len(kept)) < lost <= 400 - len(kept)
