"""ACDC, its night part: 1920x1080; 400 train, 106 val, 500 test without labels.

``rgb_anon/night/{train,val,test}/SEQUENCE/*_rgb_anon.png``,
``gt/night/{train,val}/SEQUENCE/*_gt_label{TrainIds,Ids}.png``.
"""

from __future__ import annotations

from typing import Final

from dannet_core.data.layout import DataSetLayout, SplitLayout
from dannet_core.data.sample import LABEL_IDS, TRAIN_IDS

_ENDINGS: Final = (("_gt_labelTrainIds", TRAIN_IDS), ("_gt_labelIds", LABEL_IDS))

LAYOUT: Final = DataSetLayout(
    "acdc-night",
    {
        "train": SplitLayout("rgb_anon/night/train", "_rgb_anon", "gt/night/train", _ENDINGS),
        "val": SplitLayout("rgb_anon/night/val", "_rgb_anon", "gt/night/val", _ENDINGS),
        "test": SplitLayout("rgb_anon/night/test", "_rgb_anon"),
    },
    evaluation_split="val",
)
