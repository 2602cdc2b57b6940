import numpy as np

from dannet_ros.replay.pairs.matching import DayFrames, MatchRules, match, match_in_order

RULES = MatchRules(max_distance_m=10.0, max_angle_deg=30.0, min_distance_m=5.0)


def along(x: np.ndarray, y: float = 0.0, way: tuple[float, float] = (1, 0)) -> tuple[np.ndarray, np.ndarray]:
    points = np.column_stack([x, np.full(len(x), y), np.zeros(len(x))])
    return points, np.tile([*way, 0.0], (len(x), 1))


def test_it_finds_what_comparing_all_with_all_finds() -> None:
    rng = np.random.default_rng(3)
    rules = MatchRules(7.0, 40.0, 0.0)
    points = rng.uniform(-60, 60, (400, 3)) * (1, 1, 0)
    angles = rng.uniform(0, 2 * np.pi, 400)
    headings = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(400)])
    night, day = slice(0, 150), slice(150, 400)
    found, left_out = match(points[night], headings[night], DayFrames(points[day], headings[day], rules), rules)
    distances = np.linalg.norm(points[night][:, None] - points[day][None], axis=2)
    turned = np.degrees(np.arccos(np.clip(headings[night] @ headings[day].T, -1, 1)))
    fits = (distances <= 7) & (turned <= 40)
    distances[~fits] = np.inf
    expected = [(i, int(distances[i].argmin())) for i in range(150) if fits[i].any()]
    assert [(one.night, one.day) for one in found] == expected
    assert 20 < len(expected) < 130
    assert sum(left_out.values()) == 150 - len(expected)
    assert len(left_out) == 2


def test_the_other_direction_of_the_same_road_is_no_pair() -> None:
    back = along(np.arange(100.0, 0, -1), y=3.0, way=(-1, 0))
    found, left_out = match(*along(np.arange(0.0, 100, 6)), DayFrames(*back, RULES), RULES)
    assert not found
    assert left_out == {"day frames within 10 m all of another heading": 17}
    both = DayFrames(
        *(np.concatenate(pair) for pair in zip(back, along(np.arange(0.0, 100), y=8.0), strict=True)), RULES
    )
    found, _ = match(*along(np.arange(0.0, 100, 6)), both, RULES)
    assert [one.day for one in found] == [100 + x for x in range(0, 100, 6)]


def test_standstills_are_thinned_and_every_frame_is_accounted_for() -> None:
    x = np.concatenate([np.arange(0, 20, 0.5), np.full(50, 20.0), np.arange(20, 40, 0.5), np.array([900.0])])
    found, left_out = match(*along(x), DayFrames(*along(np.arange(0.0, 41, 1)), RULES), RULES)
    assert x[[one.night for one in found]].tolist() == [0, 5, 10, 15, 20, 25, 30, 35]
    assert left_out == {"closer than 5 m to the last one kept": len(x) - 9, "no day frame within 10 m": 1}


def test_order_pairs_equal_shares_of_the_time() -> None:
    found, left_out = match_in_order(np.arange(0, 10.01, 0.5), np.arange(0, 20.01, 1), 1.0)
    assert [(one.night, one.day) for one in found] == [(2 * i, 2 * i) for i in range(11)]
    assert sum(left_out.values()) == 10
    assert [one.day for one in match_in_order(np.zeros(1), np.zeros(1), 1.0)[0]] == [0]
