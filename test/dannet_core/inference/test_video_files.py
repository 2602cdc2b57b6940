import os

import cv2
import numpy as np
import pytest

from dannet_core.errors import ImageError, OutputError
from dannet_core.inference.video_files import OverlayVideo, VideoFrames, is_cut_off, storable_rate

FRAMES = 12


@pytest.fixture(params=["v.avi", "v.mp4"])
def video(request, tmp_path):
    path = tmp_path / request.param
    kind = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*kind), 10, (96, 64))
    rng = np.random.default_rng(0)
    for _ in range(FRAMES):
        writer.write(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8))
    writer.release()
    return path


def test_a_whole_video_lacks_nothing(video):
    frames = VideoFrames(video)
    assert len(list(frames)) == FRAMES
    assert (frames.count, frames.rate, frames.missing()) == (FRAMES, 10, "")


def test_an_avi_that_is_cut_off_is_said_with_what_it_holds(video):
    if video.suffix != ".avi":
        pytest.skip("an MP4 without its index cannot be read at all")
    data = video.read_bytes()
    video.write_bytes(data[: len(data) // 2])
    frames = VideoFrames(video)
    held = len(list(frames))
    assert 0 < held < FRAMES
    assert frames.missing() == f"cut off, damaged or never closed: it ends after {held} of {FRAMES} frames"


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_containers_that_end_before_what_they_announce(video, kept):
    data = video.read_bytes()
    assert not is_cut_off(video)
    video.write_bytes(data[: int(len(data) * kept)])
    assert is_cut_off(video)


def matroska(segment: bytes, size: bytes, path):
    path.write_bytes(b"\x1a\x45\xdf\xa3" + b"\x83abc" + b"\x18\x53\x80\x67" + size + segment)
    return path


def test_a_matroska_file_is_as_long_as_its_segment_says_if_it_says(tmp_path):
    path = tmp_path / "v.mkv"
    assert not is_cut_off(matroska(bytes(500), b"\x41\xf4", path))
    assert is_cut_off(matroska(bytes(499), b"\x41\xf4", path))
    assert not is_cut_off(matroska(bytes(9), b"\x01" + b"\xff" * 7, path))


def test_an_avi_that_was_never_closed_is_cut_off(tmp_path):
    (tmp_path / "v.avi").write_bytes(b"RIFF\0\0\0\0AVI " + bytes(500))
    assert is_cut_off(tmp_path / "v.avi")


@pytest.mark.parametrize(
    ("rate", "stored"),
    [(25, 25), (30000 / 1001, 30000 / 1001), (59.94, 59.94), (211.222, 211.22), (1000.44, 1000.4), (6553.55, 6554),
     (90000, 65535), (0.0005, 0.01)],
)  # fmt: skip
def test_rates_are_rounded_to_what_can_be_stored(tmp_path, rate, stored):
    assert storable_rate(rate) == stored
    with OverlayVideo(tmp_path / "o.mp4", (64, 96), rate) as overlay:
        for _ in range(3):
            overlay.write(np.zeros((64, 96, 3), np.uint8))
    capture = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(stored, rel=1e-4)


def test_frames_that_were_not_stored_are_missed(tmp_path):
    overlay = OverlayVideo(tmp_path / "o.mp4", (64, 96), 5)
    overlay.write(np.zeros((64, 96, 3), np.uint8))
    overlay.write(np.zeros((70, 96, 3), np.uint8))  # which OpenCV drops without a word
    with pytest.raises(OutputError, match="holds 1 of 2 frames"):
        overlay.__exit__(None, None, None)


def test_a_video_that_cannot_be_made_is_one_error(tmp_path, capfd):
    with pytest.raises(ImageError, match="no video of 96x64 pixels"):
        OverlayVideo(tmp_path / "absent" / "o.mp4", (64, 96), 5)
    capfd.readouterr()


def test_a_name_that_is_not_utf_8_is_refused_where_opencv_would_crash(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.avi")
    path.write_bytes(b"RIFF")
    with pytest.raises(ImageError, match="has to be UTF-8: rename it"):
        VideoFrames(path)
    with pytest.raises(ImageError, match="has to be UTF-8: rename it"):
        OverlayVideo(path, (64, 96), 5)
