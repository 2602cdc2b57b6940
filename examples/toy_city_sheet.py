"""Draw docs/images/toy_city.png: the same toy streets by day, by night, and their labels."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dannet_core.atomic_files import write_whole
from dannet_core.classes import CLASS_COLORS
from dannet_core.data.toy_city.render import render
from dannet_core.data.toy_city.world import World

SCENES = ((2, 5.0), (3, 11.0), (6, 11.1), (4, 16.6))
SIZE, SHOWN = (540, 960), (252, 448)
PICTURE_COLORS = 256 - len(CLASS_COLORS)


def main() -> int:
    """Write the sheet; returns the exit code."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images/toy_city.png")
    pictures, label_rows = [], []
    for seed, time_s in SCENES:
        world, rng = World(seed), np.random.default_rng(0)
        pose = world.pose_at(time_s)
        day, labels = render(world, pose, SIZE, night=False, rng=rng)
        night, _ = render(world, pose, SIZE, night=True, rng=rng)
        pictures.append(np.vstack([cv2.resize(p, SHOWN[::-1], interpolation=cv2.INTER_AREA) for p in (day, night)]))
        label_rows.append(cv2.resize(labels, SHOWN[::-1], interpolation=cv2.INTER_NEAREST))
    # A palette keeps the sheet small enough for a repository; the class colours are in it exactly.
    shot = Image.fromarray(np.hstack(pictures)).quantize(PICTURE_COLORS)
    indices = np.vstack([np.asarray(shot), np.hstack(label_rows) + np.uint8(PICTURE_COLORS)])
    sheet = Image.fromarray(indices, mode="P")
    colors = (shot.getpalette() or [])[: 3 * PICTURE_COLORS]
    colors += [0] * (3 * PICTURE_COLORS - len(colors))
    sheet.putpalette(colors + [value for rgb in CLASS_COLORS for value in rgb])
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    write_whole(out, buffer.getvalue())
    print(f"{out}: {len(buffer.getvalue()) / 1024:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
