from types import SimpleNamespace

import numpy as np
import pytest

from dannet_ros.replay.pairs.tf_chain import ChainError, TransformTree


def transform(parent: str, child: str, moved: tuple[float, float], turned_deg: float = 0.0) -> SimpleNamespace:
    half = np.radians(turned_deg) / 2
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=parent),
        child_frame_id=child,
        transform=SimpleNamespace(
            translation=SimpleNamespace(x=moved[0], y=moved[1], z=0.0),
            rotation=SimpleNamespace(x=0.0, y=0.0, z=float(np.sin(half)), w=float(np.cos(half))),
        ),
    )


def tree(*more: tuple[SimpleNamespace, float, bool]) -> TransformTree:
    made = TransformTree()
    for one, time_s, static in more:
        stamp = 10**12 + round(time_s * 1e9)
        made.add(one, stamp + 10**6, stamp, static)
    return made


def drive(turned_deg: float = 90.0) -> list[tuple[SimpleNamespace, float, bool]]:
    odom = [(transform("odom", "base_link", (float(t), 0.0)), float(t), False) for t in range(9)]
    return [*odom, *((transform("/map", "odom", (100, t), turned_deg), float(t), False) for t in (2, 4, 6))]


def test_the_chain_is_composed_at_the_times_when_every_link_is_known() -> None:
    found = tree(*drive()).positions("", "", 2.5)
    assert (found.map_frame, found.base_frame) == ("map", "base_link")
    np.testing.assert_allclose(found.points[:, :2], [(100, 2 * t) for t in range(2, 7)], atol=1e-9)
    assert ((found.header_ns - 10**12) / 1e9).tolist() == [2, 3, 4, 5, 6]
    assert found.left_out == {"no transform of every link at that time": 4}
    assert len(tree(*drive()).positions("", "", 1.0).points) == 3


def test_static_links_hold_at_all_times_and_names_may_be_given() -> None:
    links = [(transform("site", "mast", (0, 0)), float(t), False) for t in range(3)]
    links += [(transform("mast", "car", (5, 1)), 0.0, True)]
    found = tree(*links).positions("site", "car", 2.0)
    np.testing.assert_allclose(found.points[:, :2], [(5, 1)] * 3)


def test_what_is_no_chain_is_named() -> None:
    with pytest.raises(ChainError, match="--base-frame"):
        tree(*[(transform("map", "car", (0, 0)), 0.0, False)]).positions("", "", 2.0)
    with pytest.raises(ChainError, match="--map-frame"):
        tree(*[(transform("site", "base_link", (0, 0)), 0.0, False)]).positions("", "", 2.0)
    with pytest.raises(ChainError, match="--map-frame"):
        tree(*drive()[:9], (transform("site", "odom", (0, 0)), 0.0, False)).positions("", "", 2.0)
    with pytest.raises(ChainError, match="no transforms from base_link to earth"):
        tree(*drive()).positions("earth", "", 2.0)
    with pytest.raises(ChainError, match="two parents"):
        tree(*drive(), (transform("map", "base_link", (0, 0)), 0.0, False))
    with pytest.raises(ChainError, match="circle"):
        tree((transform("a", "b", (0, 0)), 0.0, False), (transform("b", "a", (0, 0)), 0.0, False)).positions(
            "a", "b", 2
        )
    with pytest.raises(ChainError, match="nothing moves"):
        tree((transform("map", "base_link", (0, 0)), 0.0, True)).positions("", "", 2.0)
