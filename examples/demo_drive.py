"""What the demo replays: a drive through the toy city, with labels, or somebody's own video, without."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dannet_core.data.toy_city import write_drive
from dannet_core.data.toy_city.writing import FIRST_STAMP_NS
from dannet_core.errors import ImageError, OutputError
from dannet_core.inference.video_files import VideoFrames
from dannet_core.pixels import check_rgb, write_png


class Drive(NamedTuple):
    """Frames as ``folder/frames/000000.png``; their labels, train ids of Cityscapes, in ``folder/labels``.

    Attributes:
        folder: where.
        fps: frames a second.
        size: (height, width) in pixels.
        stamps_ns: one a frame, nanoseconds.
        labelled: whether there are labels.
        text: what it is, in one line.
    """

    folder: Path
    fps: float
    size: tuple[int, int]
    stamps_ns: tuple[int, ...]
    labelled: bool
    text: str


def toy_drive(folder: Path, seconds: float, fps: float, size: tuple[int, int], seed: int) -> Drive:
    """Draw the toy city's drive; see `write_drive`."""
    made = write_drive(folder, seconds, fps, size, seed)
    return Drive(folder, made.fps, made.size, made.stamps_ns, True, str(made))


def video_drive(video: Path, folder: Path, seconds: float, fps: float) -> Drive:
    """Take the frames of a video's first seconds, as many a second as the video has or about ``fps``.

    Raises:
        ImageError: the file is missing or no video, or its pictures are too small or large.
        OutputError: the folder cannot be written to.
    """
    if not video.is_file():
        raise ImageError(f"{video}: no such video file")
    source = VideoFrames(video)
    every = max(1, round(source.rate / fps))
    rate = source.rate / every
    _empty(folder)
    count, size = 0, (0, 0)
    for number, rgb in enumerate(source):
        if number % every == 0:
            size = check_rgb(rgb).shape[:2]
            write_png(folder / "frames" / f"{count:06d}.png", rgb)
            count += 1
        if count >= max(1, round(seconds * rate)):
            break
    if not count:
        raise ImageError(f"{video}: not a readable video")
    stamps = tuple(FIRST_STAMP_NS + round(index * 1e9 / rate) for index in range(count))
    text = f"{video}: {count} frames of {size[1]}x{size[0]} at {rate:g} Hz"
    return Drive(folder, rate, size, stamps, False, text)


def _empty(folder: Path) -> None:
    """Frames of an earlier run must not mix with these."""
    try:
        (folder / "frames").mkdir(parents=True, exist_ok=True)
        for old in (folder / "frames").glob("*.png"):
            old.unlink()
    except OSError as error:
        raise OutputError(f"{folder}: cannot write: {error.strerror}") from error
