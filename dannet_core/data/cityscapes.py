"""Cityscapes: labelled day pictures of 50 towns, 2048x1024; 2975 train, 500 val, 1525 test without labels.

``leftImg8bit/{train,val,test}/CITY/*_leftImg8bit.png``, ``gtFine/{train,val}/CITY/*_gtFine_label{Ids,TrainIds}.png``.
"""

from __future__ import annotations

from typing import Final

from dannet_core.data.layout import DataSetLayout, SplitLayout
from dannet_core.data.sample import LABEL_IDS, TRAIN_IDS

_ENDINGS: Final = (("_gtFine_labelIds", LABEL_IDS), ("_gtFine_labelTrainIds", TRAIN_IDS))

LAYOUT: Final = DataSetLayout(
    "cityscapes",
    {
        "train": SplitLayout("leftImg8bit/train", "_leftImg8bit", "gtFine/train", _ENDINGS),
        "val": SplitLayout("leftImg8bit/val", "_leftImg8bit", "gtFine/val", _ENDINGS),
        # The label files that come with the test split hold nothing but "ignore".
        "test": SplitLayout("leftImg8bit/test", "_leftImg8bit"),
    },
    evaluation_split="val",
)
