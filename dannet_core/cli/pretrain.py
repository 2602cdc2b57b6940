"""`dannet pretrain`: the source-only segmentation network that adaptation starts from (Table 1)."""

from __future__ import annotations

from dannet_core.errors import require
from dannet_core.training.config import PRESETS, TrainConfig

DESCRIPTION = (
    "Trains the segmentation network alone on labelled day images (--data.source). Writes the same run folder as "
    "`train`; pass its best.safetensors or last.safetensors to `dannet train --init`."
)
Settings = TrainConfig
Presets = PRESETS


def run(settings: TrainConfig) -> int:
    """Train; 0 also after a clean stop."""
    require("torch", "train", "pip install 'dannet_ros[train]'")
    from dannet_core.training.recipe import run_training

    print(run_training(settings, "pretrain"))
    return 0
