"""Draw docs/images/demo.webp of what `make demo` left: the camera's picture beside the node's labels over it.

The same demo folder gives the same bytes with the same Pillow.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dannet_core.atomic_files import write_whole  # noqa: E402 - the tree's own package, whatever is installed
from dannet_core.errors import DannetError, ImageError  # noqa: E402
from dannet_core.pixels import Rgb, overlay, read_rgb  # noqa: E402
from dannet_core.settings import option, parse  # noqa: E402


@dataclass(frozen=True)
class Settings:
    """Options of the moving picture."""

    demo: Path = option("folder that the demo wrote, of the toy city's drive", Path("demo_output"))
    out: Path = option("the WebP to write", ROOT / "docs" / "images" / "demo.webp")
    width: int = option("width of each of the two pictures in pixels", 448, limits=(64, 1920))
    quality: int = option("of WebP, 100 = best", 70, limits=(1, 100))


def main() -> int:
    """Write the picture; 2 where the folder does not hold a whole demo."""
    try:
        settings = parse(Settings, sys.argv[1:], "moving_picture", "A moving WebP of a demo's frames and labels.")
        rate_hz, frames = read_demo(settings.demo)
        data = encode(beside(frames, settings.width), rate_hz, settings.quality)
        write_whole(settings.out, data)
    except DannetError as error:
        print(f"moving_picture: {error}", file=sys.stderr)
        return 2
    print(f"{settings.out}: {len(frames)} frames, {len(data) / 1e6:.2f} MB")
    return 0


def read_demo(folder: Path) -> tuple[float, list[tuple[Path, Path]]]:
    """Frames a second, and picture and labels of each frame.

    Raises:
        ImageError: there is no drive, or a frame of it has no labels: the film would jump.
    """
    try:
        drive = json.loads((folder / "drive" / "drive.json").read_text(encoding="utf-8"))
        rate_hz, count = float(drive["fps"]), len(drive["stamps_ns"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(f"{folder}: got no toy city's drive in it, expected a folder of make demo: {error}") from error
    names = [f"{index:06d}.png" for index in range(count)]
    missing = [name for name in names if not (folder / "labels" / name).is_file()]
    if missing:
        raise ImageError(
            f"{folder}/labels: {len(missing)} of {count} frames have no labels, the first {missing[0]}: "
            "run the demo again with a lower --fps"
        )
    return rate_hz, [(folder / "drive" / "frames" / name, folder / "labels" / name) for name in names]


def beside(frames: list[tuple[Path, Path]], width: int) -> Iterator[Rgb]:
    """Each frame small, to its right the same with the label colours over it: h x 2 width x 3."""
    for picture, label_file in frames:
        rgb, labels = read_rgb(picture), cv2.imread(str(label_file), cv2.IMREAD_UNCHANGED)
        if labels is None or labels.shape != rgb.shape[:2] or labels.dtype != np.uint8:
            raise ImageError(f"{label_file}: expected 8-bit train ids of the size of {picture.name}")
        size = (width, round(width * rgb.shape[0] / rgb.shape[1]))
        labelled = overlay(rgb, np.asarray(labels, dtype=np.uint8), 0.5)
        shown = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (rgb, labelled)]
        yield np.hstack([np.asarray(one, dtype=np.uint8) for one in shown])


def encode(pictures: Iterator[Rgb], rate_hz: float, quality: int) -> bytes:
    """An endless WebP that takes as long as the drive."""
    first, *rest = [Image.fromarray(picture) for picture in pictures]
    buffer = io.BytesIO()
    duration_ms = round(1e3 / rate_hz)
    first.save(
        buffer, "WEBP", save_all=True, append_images=rest, duration=duration_ms, loop=0, quality=quality, method=4
    )
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
