"""Draw docs/images/toy_city.png: the same toy streets by day, by night, and their labels."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dannet_core.atomic_files import write_whole
from dannet_core.data.toy_render import render
from dannet_core.data.toy_world import World
from dannet_core.pixels import colorize

SCENES = ((2, 5.0), (3, 11.0), (6, 11.1), (4, 16.6))
SIZE, SHOWN = (540, 960), (216, 384)


def main() -> int:
    """Write the sheet; returns the exit code."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images/toy_city.png")
    columns = []
    for seed, time_s in SCENES:
        world, rng = World(seed), np.random.default_rng(0)
        pose = world.pose_at(time_s)
        day, labels = render(world, pose, SIZE, night=False, rng=rng)
        night, _ = render(world, pose, SIZE, night=True, rng=rng)
        tiles = [(day, cv2.INTER_AREA), (night, cv2.INTER_AREA), (colorize(labels), cv2.INTER_NEAREST)]
        columns.append(np.vstack([cv2.resize(tile, SHOWN[::-1], interpolation=how) for tile, how in tiles]))
    buffer = io.BytesIO()
    # 256 colours keep the sheet small enough for a repository.
    Image.fromarray(np.hstack(columns)).quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(
        buffer, "PNG", optimize=True
    )
    write_whole(out, buffer.getvalue())
    print(f"{out}: {len(buffer.getvalue()) / 1024:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
