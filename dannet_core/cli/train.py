"""`dannet train`: adapt a segmentation network to the night (all of the paper; ablations are configurations)."""

from __future__ import annotations

from dannet_core.errors import require
from dannet_core.training.config import PRESETS, TrainConfig

DESCRIPTION = (
    "Trains DANNet on labelled day images (--data.source) and unlabelled day-night pairs (--data.target). Writes "
    "RUN_DIR/{config.yaml,metrics.jsonl,best.safetensors,last.safetensors,checkpoints/}; Ctrl-C saves, "
    "--resume continues."
)
Settings = TrainConfig
Presets = PRESETS


def run(settings: TrainConfig) -> int:
    """Train; 0 also after a clean stop."""
    require("torch", "train", "pip install 'dannet_ros[train]'")
    from dannet_core.training.recipe import run_training

    print(run_training(settings, "train"))
    return 0
