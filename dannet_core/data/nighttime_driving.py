"""Nighttime Driving: 50 labelled night pictures, 1920x1080, to test on.

``leftImg8bit/test/night/*_leftImg8bit.png`` and, in ``gtCoarse_daytime_trainvaltest/test/night/``,
``*_gtCoarse_label{TrainIds,Ids}.png``. Train ids 9 (terrain) and 17 (motorcycle) do not occur in the labels.
Published figures rest on the train-id files. In the copy with later corrections the two kinds differ in 15 pictures:
there the label-id files are the corrected ones, opened with ``encoding="label_ids"``.
"""

from __future__ import annotations

from typing import Final

from dannet_core.data.layout import DataSetLayout, SplitLayout
from dannet_core.data.sample import LABEL_IDS, TRAIN_IDS

LAYOUT: Final = DataSetLayout(
    "nighttime-driving",
    {
        "test": SplitLayout(
            "leftImg8bit/test/night",
            "_leftImg8bit",
            "gtCoarse_daytime_trainvaltest/test/night",
            (("_gtCoarse_labelTrainIds", TRAIN_IDS), ("_gtCoarse_labelIds", LABEL_IDS)),
        )
    },
    evaluation_split="test",
)
