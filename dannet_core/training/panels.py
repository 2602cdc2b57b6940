"""Pictures of a training step: what went in, what relighting made of it, what was believed, what came out."""

from __future__ import annotations

import cv2
import numpy as np
from torch import Tensor

from dannet_core.classes import IGNORE_ID
from dannet_core.pixels import Rgb, colorize, denormalize
from dannet_core.training.domain_step import StepResult

ERROR_COLOR = (255, 60, 60)
PANEL_HEIGHT = 256


def step_panel(result: StepResult, source_labels: Tensor) -> Rgb:
    """Rows of the step's last part: day, relit day, pseudo label; night, relit night, prediction; source, prediction,
    errors. Whatever the step did not compute is left out. H x W x 3 uint8 RGB.
    """
    pictures, labels = result.pictures, result.labels
    rows = []
    for domain, shown in (("day", "pseudo"), ("night", "night")):
        if domain in pictures:
            row = [_picture(image) for image in pictures[domain]]
            rows.append(_row([*row, colorize(_labels(labels[shown]))] if shown in labels else row))
    if "source" in pictures and "source" in labels:
        predicted, true = _labels(labels["source"]), _labels(source_labels)
        errors = colorize(true)
        errors[(predicted != true) & (true != IGNORE_ID)] = ERROR_COLOR
        rows.append(_row([_picture(pictures["source"][0]), colorize(predicted), errors]))
    width = max((row.shape[1] for row in rows), default=1)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return np.concatenate(rows) if rows else np.zeros((1, 1, 3), np.uint8)


def _picture(images: Tensor) -> Rgb:
    return denormalize(images[0].float().cpu().numpy())


def _labels(labels: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(labels[0].cpu().numpy(), dtype=np.uint8)


def _row(pictures: list[Rgb]) -> Rgb:
    """Side by side at one height; nearest, since some of them are labels."""
    scaled = [
        cv2.resize(
            picture,
            (max(1, picture.shape[1] * PANEL_HEIGHT // picture.shape[0]), PANEL_HEIGHT),
            interpolation=cv2.INTER_NEAREST,
        )
        for picture in pictures
    ]
    return np.asarray(np.concatenate(scaled, axis=1), dtype=np.uint8)
