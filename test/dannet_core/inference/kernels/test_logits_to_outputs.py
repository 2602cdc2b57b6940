"""Kernel (b) against the NumPy path: scale, upsample, argmax, colour and blend on the CPU."""

import numpy as np
import pytest

from dannet_core.classes import CITYSCAPES_CLASS_SHARES, IGNORE_ID
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.kernels.jobs import label_launch
from dannet_core.inference.postprocess import class_scaling, scale_logits, upsample_confidence, upsample_labels
from dannet_core.pixels import colorize, overlay

ALL = ("labels", "confidence", "confidence_bytes", "color", "overlay")


def street_logits(rows: int, columns: int) -> np.ndarray:
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    coarse = rng.normal(0, 4, (5, 7, 19)).astype(np.float32)
    planes = [cv2.resize(coarse[..., k], (columns, rows), interpolation=cv2.INTER_CUBIC) for k in range(19)]
    return (np.stack(planes) + rng.normal(0, 0.3, (19, rows, columns))).astype(np.float32)


def picture(height: int, width: int) -> CameraImage:
    return CameraImage.from_rgb(np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("method", ["probabilities", "logits", "none"])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(
    ("stride_size", "size"),
    [((17, 30), (270, 480)), ((34, 60), (135, 241)), ((17, 31), (131, 253)), ((40, 70), (64, 64)), ((1, 9), (64, 72))],
)
def test_labels_and_confidence_equal_the_cpu_path(
    host_kernels, camera_format, stride_size, size, align_corners, method
):
    camera, logits = picture(*size), street_logits(*stride_size)
    scaling = class_scaling(method, CITYSCAPES_CLASS_SHARES, 0.16)
    launch = label_launch(camera_format(camera), logits.shape, False, align_corners)
    ours = host_kernels.outputs(camera, logits, launch, scaling, ("labels", "confidence"))
    scores = scale_logits(logits, scaling)
    assert (ours["labels"] == upsample_labels(scores, size, align_corners)).mean() >= 0.9999
    np.testing.assert_allclose(ours["confidence"], upsample_confidence(scores, size, align_corners), atol=2e-6)


def test_colours_and_overlay_equal_the_cpu_path_and_bytes_are_the_confidence(host_kernels, camera_format):
    camera, logits = picture(150, 200), street_logits(19, 25)
    scaling = class_scaling("probabilities", CITYSCAPES_CLASS_SHARES, 0.16)
    launch = label_launch(camera_format(camera), logits.shape, False, True)
    ours = host_kernels.outputs(camera, logits, launch, scaling, ALL, alpha=0.3)
    np.testing.assert_array_equal(ours["color"], colorize(ours["labels"]))
    theirs = overlay(camera.to_rgb(), ours["labels"], 0.3).astype(int)
    assert np.abs(ours["overlay"] - theirs).max() <= 1
    np.testing.assert_array_equal(ours["confidence_bytes"], np.floor(ours["confidence"] * np.float32(255) + 0.5))


def test_pixels_below_min_confidence_are_unknown_and_black(host_kernels, camera_format):
    camera, logits = picture(150, 200), street_logits(19, 25)
    scaling = class_scaling("none", CITYSCAPES_CLASS_SHARES, 0.16)
    launch = label_launch(camera_format(camera), logits.shape, False, True)
    plain = host_kernels.outputs(camera, logits, launch, scaling, ALL)
    threshold = float(np.median(plain["confidence"]))
    strict = host_kernels.outputs(camera, logits, launch, scaling, ("labels", "color"), min_confidence=threshold)
    unknown = plain["confidence"] < threshold
    assert 0.3 < unknown.mean() < 0.7
    np.testing.assert_array_equal(strict["labels"] == IGNORE_ID, unknown)
    np.testing.assert_array_equal(strict["labels"][~unknown], plain["labels"][~unknown])
    assert not strict["color"][unknown].any()


def test_half_logits_are_read_as_what_they_are(host_kernels, camera_format):
    camera, logits = picture(128, 160), street_logits(16, 20).astype(np.float16)
    scaling = class_scaling("logits", CITYSCAPES_CLASS_SHARES, 0.16)
    halves = label_launch(camera_format(camera), logits.shape, True, True)
    floats = label_launch(camera_format(camera), logits.shape, False, True)
    np.testing.assert_array_equal(
        host_kernels.outputs(camera, logits, halves, scaling, ("labels",))["labels"],
        host_kernels.outputs(camera, logits.astype(np.float32), floats, scaling, ("labels",))["labels"],
    )


def test_far_apart_scores_neither_overflow_nor_vanish(host_kernels, camera_format):
    camera, logits = picture(96, 96), street_logits(12, 12) * 1000
    scaling = class_scaling("none", CITYSCAPES_CLASS_SHARES, 0.0)
    launch = label_launch(camera_format(camera), logits.shape, False, True)
    confidence = host_kernels.outputs(camera, logits, launch, scaling, ("confidence",))["confidence"]
    expected = upsample_confidence(scale_logits(logits, scaling), (96, 96))
    np.testing.assert_allclose(confidence, expected, rtol=1e-4)


def test_only_the_wanted_outputs_are_written(host_kernels, camera_format):
    camera, logits = picture(96, 128), street_logits(12, 16)
    scaling = class_scaling("none", CITYSCAPES_CLASS_SHARES, 0.0)
    launch = label_launch(camera_format(camera), logits.shape, False, True)
    everything = host_kernels.outputs(camera, logits, launch, scaling, ALL)
    for name in ALL:
        alone = host_kernels.outputs(camera, logits, launch, scaling, (name,))
        np.testing.assert_array_equal(alone[name], everything[name])


def test_a_graph_with_fine_logits_for_a_small_camera_reads_them_directly(host_kernels, camera_format):
    camera, logits = picture(64, 64), street_logits(300, 400)
    scaling = class_scaling("logits", CITYSCAPES_CLASS_SHARES, 0.16)
    launch = label_launch(camera_format(camera), logits.shape, False, True)
    assert launch.stage == (0, 0)
    labels = host_kernels.outputs(camera, logits, launch, scaling, ("labels",))["labels"]
    assert (labels == upsample_labels(scale_logits(logits, scaling), (64, 64))).mean() >= 0.9995
