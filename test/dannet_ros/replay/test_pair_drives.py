import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dannet_core.data.registry import open_pairs
from dannet_core.data.toy_city import Trip, write_trip
from dannet_core.geodesy import TangentPlane
from dannet_core.pixels import read_rgb
from dannet_ros.replay.__main__ import main

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
START_NS = 1_700_000_000 * 10**9
FPS = 10
CAMERA = "/camera/image"


class Road:
    """Writes bags of a car on a straight road; x metres along it at each frame, ten a second."""

    def __init__(self, bags: SimpleNamespace, folder: Path) -> None:
        from rosbags.typesys import Stores, get_typestore

        self._bags, self._folder, self._store = bags, folder, get_typestore(Stores.ROS2_JAZZY)

    def __call__(self, name: str, along: Sequence[float], **more: Any) -> Path:
        """``positions``: writes those of all frames; ``level``: grey of the first picture; ``zero``: no stamps."""
        positions = more.get("positions", self.navsat())
        with self._bags.record(self._folder / name) as writer:
            links: dict[str, Any] = {}

            def write(topic: str, kind: str, time_ns: int, message: Any) -> None:
                if topic not in links:
                    links[topic] = writer.add_connection(topic, kind, typestore=self._store)
                writer.write(links[topic], time_ns, self._store.serialize_cdr(message, kind))

            for index, x in enumerate(along):
                time_ns = START_NS + index * 10**9 // FPS
                for topic, message in positions(index, x, time_ns):
                    write(topic, message.__msgtype__, time_ns, message)
                height, width = more.get("size_of", {}).get(index, more.get("size", (64, 64)))
                pixels = np.full(height * width * 3, more.get("level", 10) + index % 90, np.uint8)
                stamp_ns = 0 if more.get("zero") else time_ns + more.get("ahead_ns", 0)
                values = (
                    self.header(stamp_ns),
                    height,
                    width,
                    more.get("encoding_of", {}).get(index, "rgb8"),
                    0,
                    width * 3,
                    pixels,
                )
                message = self.make("sensor_msgs/msg/Image", *values)
                write(more.get("topic", CAMERA), "sensor_msgs/msg/Image", time_ns, message)
        return self._folder / name

    def make(self, kind: str, *values: Any) -> Any:
        return self._store.types[kind](*values)

    def header(self, stamp_ns: int, frame: str = "") -> Any:
        stamp = self.make("builtin_interfaces/msg/Time", *divmod(stamp_ns, 10**9))
        return self.make("std_msgs/msg/Header", stamp, frame)

    def navsat(self, **more: Any) -> Callable[..., Iterator[Any]]:
        """Positions of every ``every``th frame; ``change`` may alter what is in a message."""
        plane = TangentPlane(*more.get("origin", (47.0, 8.0)))

        def positions(index: int, x: float, time_ns: int) -> Iterator[Any]:
            if index % more.get("every", 1):
                return
            latitude, longitude = (float(one[0]) for one in plane.degrees(np.array([[x, more.get("side", 0.0), 0.0]])))
            values = {"status": 0, "latitude": latitude, "longitude": longitude, "covariance": 0.0}
            values |= more.get("change", lambda _: {})(index)
            yield (
                more.get("topic", "/fix"),
                self.make(
                    "sensor_msgs/msg/NavSatFix",
                    self.header(0 if more.get("zero") else time_ns),
                    self.make("sensor_msgs/msg/NavSatStatus", values["status"], 1),
                    values["latitude"],
                    values["longitude"],
                    float("nan"),
                    np.full(9, values["covariance"]),
                    2 if values["covariance"] else 0,
                ),
            )

        return positions

    def odometry(self, frame: str = "map") -> Callable[..., Iterator[Any]]:
        def positions(index: int, x: float, time_ns: int) -> Iterator[Any]:
            pose = self.make("geometry_msgs/msg/Pose", self.point(x), self.turn())
            still = self.make("geometry_msgs/msg/Twist", self.vector(), self.vector())
            yield (
                "/odom",
                self.make(
                    "nav_msgs/msg/Odometry",
                    self.header(time_ns, frame),
                    "base_link",
                    self.make("geometry_msgs/msg/PoseWithCovariance", pose, np.zeros(36)),
                    self.make("geometry_msgs/msg/TwistWithCovariance", still, np.zeros(36)),
                ),
            )

        return positions

    def tf(self, top: str = "map") -> Callable[..., Iterator[Any]]:
        def positions(index: int, x: float, time_ns: int) -> Iterator[Any]:
            links = [("odom", "base_link", x - 50.0)] + ([(top, "odom", 50.0)] if index % 5 == 0 else [])
            yield "/tf", self.make("tf2_msgs/msg/TFMessage", [
                self.make("geometry_msgs/msg/TransformStamped", self.header(time_ns, parent), child,
                          self.make("geometry_msgs/msg/Transform", self.vector(moved), self.turn()))
                for parent, child, moved in links
            ])  # fmt: skip

        return positions

    def point(self, x: float) -> Any:
        return self.make("geometry_msgs/msg/Point", x, 0.0, 0.0)

    def vector(self, x: float = 0.0) -> Any:
        return self.make("geometry_msgs/msg/Vector3", x, 0.0, 0.0)

    def turn(self) -> Any:
        return self.make("geometry_msgs/msg/Quaternion", 0.0, 0.0, 0.0, 1.0)


def nothing(index: int, x: float, time_ns: int) -> Iterator[Any]:
    return iter(())


@pytest.fixture
def road(bags: SimpleNamespace, tmp_path: Path) -> Road:
    return Road(bags, tmp_path)


DAY = np.arange(0, 60, 0.5)
NIGHT = np.concatenate([np.arange(5, 30, 0.7), np.full(20, 29.3), np.arange(29.3, 55, 0.7)])


def pair(*bags: Path, more: Sequence[object] = ()) -> tuple[int, Path]:
    out = bags[0].parent / "target"
    return main(["pair_drives", *map(str, bags), "--out", str(out), *map(str, more)]), out


def record(out: Path) -> dict[str, Any]:
    return json.loads((out / "pair_drives.json").read_text())


def frame_numbers(content: dict[str, Any]) -> list[tuple[int, int]]:
    return [tuple(int(one[key].rpartition("_")[2]) for key in ("night", "day")) for one in content["pairs"]]


def check_nearest(content: dict[str, Any], day: np.ndarray = DAY, night: np.ndarray = NIGHT) -> None:
    pairs = frame_numbers(content)
    assert len(pairs) >= 8
    for of_night, of_day in pairs:
        assert abs(night[of_night] - day[of_day]) <= np.abs(night[of_night] - day).min() + 1e-3
    assert (np.diff([night[one] for one, _ in pairs]) >= 5 - 1e-3).all()


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_toy_drives_are_paired_right_and_read_by_the_loader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seconds, fps, drives = 8, 6, {}
    for name, trip in (("day", Trip(5, 1)), ("night", Trip(5, 2))):
        write_trip(tmp_path / name, trip, seconds, fps, (64, 96), night=name == "night")
        poses = [trip.pose_at(index / fps) for index in range(seconds * fps)]
        drives[name] = np.array([(pose.x, pose.z) for pose in poses])
        packed = ["--positions", str(tmp_path / name / "positions.csv"), "--labels", str(tmp_path / name / "labels")]
        frames, bag = str(tmp_path / name / "frames"), str(tmp_path / f"{name}_bag")
        assert main(["make_bag", frames, "--out", bag, "--fps", str(fps), *packed]) == 0
    bags = (tmp_path / "day_bag", tmp_path / "night_bag")
    code, out = pair(*bags, more=["--min-distance", 0, "--max-distance", 5])
    assert code == 0
    content = record(out)
    distances = np.linalg.norm(drives["night"][:, None] - drives["day"][None], axis=2)
    true = [(distances[n, d], distances[n].min()) for n, d in frame_numbers(content)]
    assert len(true) > 40
    assert np.mean([got <= best + 0.05 for got, best in true]) >= 0.99
    assert max(got for got, _ in true) <= 5.05
    pairs = open_pairs("dark-zurich", out)
    assert len(pairs) == len(content["pairs"])
    for one, numbers in zip(pairs[::15], frame_numbers(content)[::15], strict=True):
        for sample, name, number in ((one.night, "night", numbers[0]), (one.day, "day", numbers[1])):
            written = read_rgb(tmp_path / name / "frames" / f"{number:06d}.png")
            np.testing.assert_array_equal(read_rgb(sample.image_path), written)
    sheet = read_rgb(out / "pair_drives.png")
    assert sheet.shape[1] > 4 * 320
    for row in range(3):
        day, night = (sheet[24 + row * 249 : 237 + row * 249, left : left + 320].mean() for left in (0, 320))
        assert day > night + 20
    said = capsys.readouterr()
    assert f"{len(pairs)} pairs of 48 night frames" in said.out
    assert "m median" in said.out
    left_out = sum(content["drives"][1]["left_out"].values())
    assert left_out + len(pairs) == 48


@pytest.mark.parametrize("origin", [(47.0, 8.0), (-16.0, 179.9998), (89.9999, 0.0)])
def test_positions_of_one_a_second_are_interpolated_everywhere_on_earth(
    road: Road, origin: tuple[float, float]
) -> None:
    speed = {"day": np.arange(0, 60, 0.5), "night": np.arange(4, 55, 0.6)}
    made = [road(name, along, positions=road.navsat(every=10, origin=origin)) for name, along in speed.items()]
    code, out = pair(*made)
    assert code == 0
    content = record(out)
    check_nearest(content, speed["day"], speed["night"])
    assert content["drives"][1]["left_out"]["before the first or after the last position"] == 4


@pytest.mark.parametrize("kind", ["odometry", "tf"])
def test_odometry_and_transforms_say_where_it_was_too(road: Road, kind: str) -> None:
    made = [road(name, along, positions=getattr(road, kind)()) for name, along in (("d", DAY), ("n", NIGHT))]
    code, out = pair(*made)
    assert code == 0
    content = record(out)
    assert content["positions"] == kind
    assert content["drives"][0]["positions"]["frame"] == "map"
    check_nearest(content)


def test_without_positions_the_order_is_taken_and_said(road: Road, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = pair(road("d", DAY, positions=nothing, level=120), road("n", NIGHT))
    assert code == 0
    assert "only right if both went the same way at the same pace" in error_of(capsys)
    content = record(out)
    assert content["positions"] == "order"
    assert content["pairs"][0]["distance_m"] is None
    night, day = (np.array(one) for one in zip(*frame_numbers(content), strict=True))
    assert (np.diff(night) == 10).all()
    np.testing.assert_allclose(day / (len(DAY) - 1), night / (len(NIGHT) - 1), atol=0.006)


def test_transforms_that_lead_to_no_map_are_named(road: Road, capsys: pytest.CaptureFixture[str]) -> None:
    made = [road(name, along, positions=road.tf("site"), level=level)
            for name, along, level in (("d", DAY, 120), ("n", NIGHT, 10))]  # fmt: skip
    code, _ = pair(*made, more=["--positions", "tf", "--map-frame", "map"])
    assert code == 2
    assert "no transforms from base_link to map: they lead over base_link -> odom -> site" in error_of(capsys)
    code, out = pair(*made, more=["--map-frame", "site"])
    assert code == 0
    check_nearest(record(out))


def test_transforms_of_sensors_alone_are_no_positions(road: Road, capsys: pytest.CaptureFixture[str]) -> None:
    def sensors(index: int, x: float, time_ns: int) -> Iterator[Any]:
        turned = road.make("geometry_msgs/msg/Transform", road.vector(1.0), road.turn())
        link = road.make("geometry_msgs/msg/TransformStamped", road.header(time_ns, "base_link"), "camera", turned)
        yield "/tf_static", road.make("tf2_msgs/msg/TFMessage", [link])

    assert pair(road("d", DAY, positions=sensors, level=120), road("n", NIGHT, positions=sensors))[0] == 0
    said = error_of(capsys)
    assert "tf: none of base_link" in said
    assert "at the same pace" in said


def test_bad_positions_are_left_out_by_reason_and_the_gap_they_leave(road: Road) -> None:
    bad = {0: {"latitude": float("nan")}, 1: {"status": -1}, 2: {"covariance": 900.0}, 3: {"latitude": 91.0},
           4: {"latitude": 0.0, "longitude": 0.0}}  # fmt: skip
    change = road.navsat(change=lambda index: bad[index % 5] if 30 <= index < 60 else {})
    code, out = pair(road("d", DAY, level=120), road("n", NIGHT, positions=change), more=["--max-gap", 2.5])
    assert code == 0
    night = record(out)["drives"][1]
    assert len(night["positions"]["left_out"]) == 5
    assert set(night["positions"]["left_out"].values()) == {6}
    assert night["left_out"]["in a gap of more than 2.5 s between positions"] == 30


def test_a_jump_of_the_position_is_no_place(road: Road) -> None:
    jump = road.navsat(change=lambda index: {"latitude": 47.5} if index == 20 else {})
    code, out = pair(road("d", DAY, level=120), road("n", NIGHT, positions=jump))
    assert code == 0
    assert record(out)["drives"][1]["left_out"]["where the position jumps, faster than 70 m/s"] == 1
    check_nearest(record(out))


@pytest.mark.parametrize("more", [{"zero": True}, {"ahead_ns": -(10**18)}])
def test_stamps_that_are_zero_or_of_another_clock_give_way_to_the_bags_time(
    road: Road, more: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = pair(road("d", DAY, level=120), road("n", NIGHT, **more))
    assert code == 0
    assert "the bag's times are used" in error_of(capsys)
    check_nearest(record(out))


def test_more_bags_are_told_by_day_and_by_night(road: Road) -> None:
    first, second = road("d1", DAY[:60], level=120), road("d2", DAY[60:], level=120)
    night = road("n", NIGHT)
    out = night.parent / "target"
    assert main(["pair_drives", "--day", str(first), str(second), "--night", str(night), "--out", str(out)]) == 0
    content = record(out)
    assert {one["day"].split("/")[2] for one in content["pairs"]} == {"d1", "d2"}
    assert max(one["distance_m"] for one in content["pairs"]) <= 0.26
    assert len(open_pairs("dark-zurich", out)) == len(content["pairs"])


def test_pictures_that_cannot_be_used_are_left_out_with_their_pair(road: Road) -> None:
    whole = pair(road("d", DAY, level=120), road("n", NIGHT))[1]
    pairs = frame_numbers(record(whole))
    night = road("n2", NIGHT, encoding_of={pairs[1][0]: "none"}, size_of={pairs[2][0]: (64, 72)})
    day = road("d2", DAY, level=120, encoding_of={pairs[3][1]: "none"})
    out = night.parent / "second"
    # The first picture says the size, so a drive begins with a good one.
    assert main(["pair_drives", str(day), str(night), "--out", str(out), "--sheet", "0"]) == 0
    content = record(out)
    assert frame_numbers(content) == [pairs[0], *pairs[4:]]
    left_out = content["drives"][1]["left_out"]
    assert left_out["damaged pictures"] == left_out["pictures not of 64x64 pixels"] == 1
    assert left_out["without its day picture, which cannot be read or is of another size"] == 1
    assert sum(left_out.values()) + len(content["pairs"]) == len(NIGHT)
    assert len(list((out / "rgb_anon").rglob("*.png"))) == 2 * len(content["pairs"])
    assert len(open_pairs("dark-zurich", out)) == len(content["pairs"])
    assert not (out / "pair_drives.png").exists()


def test_swapped_bags_are_named(road: Road, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = pair(road("n", NIGHT), road("d", DAY, level=120))
    assert code == 0
    assert "are the bags swapped?" in error_of(capsys)


@pytest.mark.parametrize(
    ("night", "words"),
    [
        ({"side": 500.0}, "no day frame within 10 m (the drives come within about 500 m)"),
        ({"change": lambda _: {"status": -1}}, "none of 93 positions can be used (93 without a fix): --positions"),
    ],
)
def test_drives_that_do_not_meet_are_refused_in_one_line(
    road: Road, night: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = pair(road("d", DAY, level=120), road("n", NIGHT, positions=road.navsat(**night)))
    assert code == 2
    assert words in error_of(capsys)
    assert not out.exists()


def test_the_same_road_the_other_way_is_refused(road: Road, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = pair(road("d", DAY[::-1], level=120), road("n", NIGHT))
    assert code == 2
    assert "all of another heading" in error_of(capsys)


def test_mistakes_are_one_line_with_exit_code_2(road: Road, capsys: pytest.CaptureFixture[str]) -> None:
    day, night = road("d", DAY[:20], level=120), road("n", NIGHT[:20])
    other, large = road("o", NIGHT[:20], topic="/rear/image"), road("l", NIGHT[:20], size=(64, 80))
    both = road("b", NIGHT[:20], positions=lambda *a: [*road.navsat()(*a), *road.navsat(topic="/fix2")(*a)])
    frames = [road(f"f_{one}", NIGHT[:20], positions=road.odometry(one)) for one in ("map", "odom")]
    (day.parent / "empty").mkdir()
    storage = next(day.glob("*.mcap"))
    for bags, words in (
        ([day], "expected DAY_BAG NIGHT_BAG"),
        ([day, night, night], "for more: --day BAG... --night BAG..."),
        ([day, day], "twice"),
        ([day, storage], "twice"),
        ([day, night, "--night", other], "expected one way of naming them"),
        (["--day", day], "are required"),
        ([day, day.parent / "nowhere"], "no such bag"),
        ([day, day.parent / "empty"], "not a bag"),
        ([day, other], "pass --topics /camera/image /rear/image"),
        ([day, large], "got pictures of 64x64 pixels, expected 80x64 like the other drives"),
        ([day, both], "--position-topics, of /fix, /fix2"),
        ([day, night, "--positions", "tf"], "no tf2_msgs/msg/TFMessage"),
        ([*frames], "got the frames 'map'"),
        ([day, night, "--topics", "/none"], "no topic /none"),
    ):
        assert main(["pair_drives", *map(str, bags), "--out", str(day.parent / "target")]) == 2, words
        assert words in error_of(capsys)
        assert not (day.parent / "target").exists()
    (day.parent / "target").mkdir()
    (day.parent / "target" / "note").touch()
    assert main(["pair_drives", str(day), str(night), "--out", str(day.parent / "target")]) == 2
    assert "exists and is not an empty folder" in error_of(capsys)
    assert not list(day.parent.glob(".*partial"))


def test_an_empty_folder_may_be_named_and_odom_is_warned_of(road: Road, capsys: pytest.CaptureFixture[str]) -> None:
    made = [road(name, along, positions=road.odometry("odom"), level=level)
            for name, along, level in (("d", DAY, 120), ("n", NIGHT, 10))]  # fmt: skip
    (made[0].parent / "target").mkdir()
    assert pair(*made)[0] == 0
    assert "begins anew with every start" in error_of(capsys)


def test_interruption_leaves_nothing_behind(road: Road) -> None:
    made = road("d", DAY[::3], size=(540, 960), level=120), road("n", DAY[::3], size=(540, 960))
    before = sorted(path.name for path in made[0].parent.iterdir())
    command = [sys.executable, "-m", "dannet_ros.replay", "pair_drives", *map(str, made), "--min-distance", "0",
               "--out", str(made[0].parent / "target")]  # fmt: skip
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3], env=os.environ
    )
    deadline = time.monotonic() + 300
    while not list(made[0].parent.glob(".target.*.partial/rgb_anon/train/night/n/*.png")):
        assert process.poll() is None, "it was done before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "dannet_ros.replay pair_drives: interrupted"
    assert sorted(path.name for path in made[0].parent.iterdir()) == before
