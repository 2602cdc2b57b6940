import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hangup import hangups_heard

from dannet_core.errors import DannetError
from dannet_core.pixels import write_png
from dannet_ros.replay.__main__ import main
from dannet_ros.replay.bag_reading import open_bag, read_images

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
COUNT, FPS = 5, 20.0


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for name in ("frames", "labels"):
        (tmp_path / name).mkdir()
    for index in range(COUNT):
        write_png(tmp_path / "frames" / f"{index:06d}.png", rng.integers(0, 256, (64, 96, 3), dtype=np.uint8))
        write_png(tmp_path / "labels" / f"{index:06d}.png", rng.integers(0, 19, (64, 96), dtype=np.uint8))
    return tmp_path


def pack(drive: Path, *more: str, out: str = "bag") -> int:
    return main(["make_bag", str(drive / "frames"), "--out", str(drive / out), "--fps", str(FPS), *more])


def frame(drive: Path, index: int) -> np.ndarray:
    bgr = cv2.imread(str(drive / "frames" / f"{index:06d}.png"))
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_every_frame_comes_back_once_with_its_stamp_and_pixels(drive: Path, storage: str) -> None:
    assert pack(drive, "--storage", storage, "--labels", str(drive / "labels")) == 0
    images = list(read_images(drive / "bag", ["/camera/image"]))
    assert [i.stamp_ns for i in images] == [1_700_000_000 * 10**9 + n * 50_000_000 for n in range(COUNT)]
    assert {i.header.frame_id for i in images} == {"camera"}
    for index, image in enumerate(images):
        np.testing.assert_array_equal(image.rgb, frame(drive, index))
    labels = list(read_images(drive / "bag", ["/ground_truth/label"]))
    assert [i.stamp_ns for i in labels] == [i.stamp_ns for i in images]
    for index, label in enumerate(labels):
        truth = cv2.imread(str(drive / "labels" / f"{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(label.rgb[..., 0], truth)


def test_camera_info_has_the_size_and_the_focal_length(drive: Path) -> None:
    assert pack(drive, "--focal", "80") == 0
    with open_bag(drive / "bag") as bag:
        messages = [bag.decode(m) for m in bag.raw(["/camera/camera_info"])]
    assert len(messages) == COUNT
    assert (messages[0].height, messages[0].width) == (64, 96)
    assert messages[0].k.tolist() == [80, 0, 48, 0, 80, 32, 0, 0, 1]


def test_compressed_frames_are_jpeg_on_their_own_topic(drive: Path) -> None:
    for index in range(COUNT):
        smooth = cv2.GaussianBlur(frame(drive, index), (0, 0), 6)
        write_png(drive / "frames" / f"{index:06d}.png", smooth)
    assert pack(drive, "--compressed") == 0
    images = list(read_images(drive / "bag"))
    assert {i.topic for i in images} == {"/camera/image/compressed"}
    assert len(images) == COUNT
    assert np.abs(images[2].rgb.astype(int) - frame(drive, 2)).mean() < 3


def test_a_video_is_packed_frame_by_frame(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for index in range(COUNT):
        writer.write(np.full((64, 96, 3), 40 * index, np.uint8))
    writer.release()
    assert main(["make_bag", str(tmp_path / "v.avi"), "--out", str(tmp_path / "bag"), "--fps", "10"]) == 0
    means = [round(float(i.rgb.mean()) / 40) for i in read_images(tmp_path / "bag")]
    assert means == list(range(COUNT))


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_mistakes_are_one_line_with_exit_code_2(drive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (drive / "empty").mkdir()
    assert main(["make_bag", str(drive / "empty"), "--out", str(drive / "bag")]) == 2
    assert "no frames" in error_of(capsys)
    assert main(["make_bag", str(drive / "nowhere"), "--out", str(drive / "bag")]) == 2
    assert "no such folder or video" in error_of(capsys)
    assert main(["make_bag", str(drive / "frames")]) == 2
    assert "--out" in error_of(capsys)
    assert main(["mak_bag"]) == 2
    assert "did you mean 'make_bag'" in error_of(capsys)
    (drive / "note.txt").write_text("no video")
    assert main(["make_bag", str(drive / "note.txt"), "--out", str(drive / "bag")]) == 2
    assert "no frames" in capsys.readouterr().err
    assert sorted(p.name for p in drive.iterdir()) == ["empty", "frames", "labels", "note.txt"]


def test_a_missing_label_is_named_before_anything_is_written(drive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (drive / "labels" / "000003.png").unlink()
    assert pack(drive, "--labels", str(drive / "labels")) == 2
    assert "label missing for frame '000003'" in error_of(capsys)
    assert sorted(p.name for p in drive.iterdir()) == ["frames", "labels"]


@pytest.mark.parametrize("folder", ["frames", "labels"])
def test_a_size_mismatch_is_named_and_leaves_no_bag(
    drive: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = (64, 90, 3) if folder == "frames" else (64, 90)
    write_png(drive / folder / "000002.png", np.zeros(shape, np.uint8))
    assert pack(drive, "--labels", str(drive / "labels")) == 2
    message = capsys.readouterr().err
    assert "000002.png: got 90x64 pixels, expected 96x64" in message
    assert sorted(p.name for p in drive.iterdir()) == ["frames", "labels"]


def test_an_existing_bag_is_replaced_only_when_asked(drive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack(drive) == 0
    capsys.readouterr()
    assert pack(drive) == 2
    assert "--overwrite" in error_of(capsys)
    (drive / "frames" / "000004.png").unlink()
    assert pack(drive, "--overwrite") == 0
    assert len(list(read_images(drive / "bag"))) == COUNT - 1
    capsys.readouterr()
    assert pack(drive, "--overwrite", out="frames") == 2
    assert "is not a bag" in error_of(capsys)
    assert sorted(p.name for p in drive.iterdir()) == ["bag", "frames", "labels"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interruption_leaves_nothing_behind(drive: Path, number: signal.Signals) -> None:
    for index in range(COUNT, 4000):
        os.link(drive / "frames" / "000000.png", drive / "frames" / f"{index:06d}.png")
    command = [
        sys.executable,
        "-m",
        "dannet_ros.replay",
        "make_bag",
        str(drive / "frames"),
        "--out",
        str(drive / "bag"),
    ]
    with hangups_heard():
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
    deadline = time.monotonic() + 300
    data_file = None
    while data_file is None and time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            data_file = next((p for p in drive.glob(".bag.*.partial/bag/*.mcap") if p.stat().st_size > 0), None)
        time.sleep(0.002)
    assert process.poll() is None, "it was done before it could be interrupted"
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    # Where it came while a library ran generated code, Python ends itself by SIGINT: to a shell that is 130 too.
    assert process.returncode in (130, -signal.SIGINT)
    assert errors.strip().splitlines()[-1] == "dannet_ros.replay make_bag: interrupted"
    assert sorted(p.name for p in drive.iterdir()) == ["frames", "labels"]


def at_most_a_megabyte() -> None:
    """For a new process: as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("before", [False, True])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(drive: Path, storage: str, before: bool) -> None:
    if before:
        assert pack(drive) == 0
    for index in range(COUNT, 100):
        os.link(drive / "frames" / "000000.png", drive / "frames" / f"{index:06d}.png")
    words = ("make_bag", str(drive / "frames"), "--out", str(drive / "bag"), "--storage", storage, "--overwrite")
    done = subprocess.run(
        [sys.executable, "-m", "dannet_ros.replay", *words, "--no-compressed"],
        stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3], preexec_fn=at_most_a_megabyte, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"dannet_ros.replay make_bag: {drive / 'bag'}: cannot write: ")
    assert len(done.stderr.splitlines()) == 1
    assert sorted(p.name for p in drive.iterdir()) == [*(["bag"] if before else []), "frames", "labels"]
    if before:
        assert len(list(read_images(drive / "bag"))) == COUNT


def test_reading_something_else_is_one_line(drive: Path) -> None:
    for path, words in ((drive / "nowhere", "no such bag"), (drive / "frames", "not a bag")):
        with pytest.raises(DannetError, match=words) as caught:
            list(read_images(path))
        assert "\n" not in str(caught.value)
    assert pack(drive) == 0
    with pytest.raises(DannetError, match="no topic /other: it holds /camera/image, /camera/camera_info"):
        list(read_images(drive / "bag", ["/other"]))
    with pytest.raises(DannetError, match="expected sensor_msgs/msg/Image"):
        list(read_images(drive / "bag", ["/camera/camera_info"]))
    data = next((drive / "bag").glob("*.mcap"))
    data.write_bytes(data.read_bytes()[:200])
    with pytest.raises(DannetError, match="damaged") as caught:
        list(read_images(drive / "bag"))
    assert "\n" not in str(caught.value)


def test_one_label_for_two_frames_is_refused(drive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(drive / "frames" / "000002.jpg"), frame(drive, 2))
    assert pack(drive, "--labels", str(drive / "labels")) == 2
    assert "the same name as 000002.jpg, expected one frame for the label 000002.png" in error_of(capsys)
    assert pack(drive) == 0
    assert len(list(read_images(drive / "bag"))) == COUNT + 1


@pytest.mark.parametrize(
    "more", [("--label-topic", "/camera/image"), ("--camera-info-topic", "/camera/image/compressed")]
)
def test_topics_of_one_name_are_refused(drive: Path, more: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert pack(drive, *more) == 2
    assert "expected a name of its own for each" in error_of(capsys)


def test_a_start_that_no_stamp_can_hold_is_refused(drive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack(drive, "--start", "2.2e9") == 2
    assert "start: got 2200000000.0, expected" in error_of(capsys)


def test_positions_are_packed_between_the_frames_by_their_time(drive: Path) -> None:
    (drive / "p.csv").write_text("time_s,latitude,longitude\n-0.02,47,8\n0.07,47.00001,8\n0.3,-47.5,-180\n")
    assert pack(drive, "--positions", str(drive / "p.csv")) == 0
    with open_bag(drive / "bag") as bag:
        order = [(m.topic, m.time_ns) for m in bag.raw(["/camera/image", "/gps/fix"])]
        fixes = [bag.decode(m) for m in bag.raw(["/gps/fix"])]
    assert [time_ns for _, time_ns in order] == sorted(time_ns for _, time_ns in order)
    assert [topic for topic, _ in order].count("/gps/fix") == 3
    assert [(fix.latitude, fix.longitude, fix.status.status) for fix in fixes] == [
        (47, 8, 0),
        (47.00001, 8, 0),
        (-47.5, -180, 0),
    ]
    stamps = [fix.header.stamp.sec * 10**9 + fix.header.stamp.nanosec - 1_700_000_000 * 10**9 for fix in fixes]
    assert stamps == [-20_000_000, 70_000_000, 300_000_000]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an empty file"),
        ("0,47,8\n", "expected the header time_s,latitude,longitude"),
        ("time_s,latitude,longitude\n", "no position"),
        ("time_s,latitude,longitude\n0,47,8\n0,47,8\n", "line 3: got '0,47,8', expected"),
        ("time_s,latitude,longitude\n0,nan,8\n", "line 2"),
        ("time_s,latitude,longitude\n0,95,8\n", "line 2"),
        ("time_s,latitude,longitude\n0,47\n", "line 2"),
        ("time_s,latitude,longitude\n-1800000000,47,8\n", "expected"),
    ],
)
def test_positions_that_are_none_are_one_line(
    drive: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (drive / "p.csv").write_text(text)
    assert pack(drive, "--positions", str(drive / "p.csv")) == 2
    assert words in error_of(capsys)
    assert not (drive / "bag").exists()
