import numpy as np
import pytest

from dannet_ros.replay.pairs.track import OUTSIDE, Track, TrackRules

RULES = TrackRules(max_gap_s=2.5, max_speed_mps=70.0, min_motion_m=3.0)


def flat(*places: tuple[float, float]) -> np.ndarray:
    return np.array([(x, y, 0.0) for x, y in places])


def reasons(located) -> list[str]:
    flags = np.array(list(located.why_not.values()))
    assert (flags.sum(axis=0) <= 1).all()
    return [next((name for name, on in zip(located.why_not, column, strict=True) if on), "") for column in flags.T]


def test_frames_between_positions_of_one_a_second_are_interpolated_by_time() -> None:
    track = Track(np.arange(4.0), flat((0, 0), (10, 0), (20, 0), (20, 10)), RULES)
    found = track.at(np.array([0.0, 0.25, 1.5, 2.5, 3.0]))
    np.testing.assert_allclose(found.points[:, :2], [(0, 0), (2.5, 0), (15, 0), (20, 5), (20, 10)])
    np.testing.assert_allclose(found.headings[:, :2], [(1, 0), (1, 0), (1, 0), (0, 1), (0, 1)], atol=1e-12)
    assert reasons(found) == [""] * 5


def test_nothing_is_said_outside_in_gaps_and_across_jumps() -> None:
    times = np.array([0.0, 1, 2, 6, 7, 8, 9, 10])
    places = flat((0, 0), (10, 0), (20, 0), (60, 0), (70, 0), (900, 0), (90, 0), (100, 0))
    found = Track(times, places, RULES).at(np.array([-0.1, 0.5, 4.0, 6.5, 7.5, 8.5, 9.5, 10.5]))
    gap, jump = list(found.why_not)[1:3]
    assert reasons(found) == [OUTSIDE, "", gap, "", jump, jump, "", OUTSIDE]
    known = ~np.isnan(found.points[:, 0])
    assert known.tolist() == [False, True, False, True, False, False, True, False]
    assert (np.isnan(found.headings[:, 0]) == ~known).all()


def test_a_position_holds_at_its_own_time_unless_it_jumped() -> None:
    times = np.array([0.0, 1, 2, 6, 7, 8, 9, 10])
    places = flat((0, 0), (10, 0), (20, 0), (60, 0), (70, 0), (900, 0), (90, 0), (100, 0))
    found = Track(times, places, RULES).at(times)
    jump = list(found.why_not)[2]
    assert reasons(found) == [jump if place == 900 else "" for place in places[:, 0]]
    np.testing.assert_array_equal(found.points[:, 0], [0, 10, 20, 60, 70, np.nan, 90, 100])


def test_a_standstill_keeps_the_last_motion_and_its_noise_is_none() -> None:
    rng = np.random.default_rng(1)
    noise = [(20 + dx, dy) for dx, dy in rng.uniform(-0.9, 0.9, (30, 2))]
    track = Track(np.arange(35.0), flat((0, 0), (5, 0), (10, 0), (15, 0), (20, 0), *noise), RULES)
    found = track.at(np.arange(4.5, 34))
    assert (found.headings[:, 0] > 0.95).all()


def test_a_drive_that_never_moves_has_no_heading() -> None:
    found = Track(np.arange(3.0), flat((0, 0), (0.5, 0), (0, 0.5)), RULES).at(np.array([0.5, 1.5]))
    assert [reason[:27] for reason in reasons(found)] == ["direction of travel unknown"] * 2


def test_one_position_and_two_of_one_time() -> None:
    assert reasons(Track(np.zeros(1), flat((0, 0)), RULES).at(np.array([0.0, 1.0])))[1] == OUTSIDE
    twice = Track(np.array([0.0, 1.0, 1.0]), flat((0, 0), (10, 0), (500, 0)), RULES).at(np.array([0.5]))
    assert twice.points[0, 0] == pytest.approx(5)
