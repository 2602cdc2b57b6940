import dataclasses

import cv2
import numpy as np
import pytest

from dannet_core.data.registry import open_data_set
from dannet_core.data.sample import DataSet
from dannet_core.errors import DataSetError, ImageError, NotFiniteError, SettingsError
from dannet_core.evaluation.confusion import ConfusionMatrix
from dannet_core.evaluation.evaluate import evaluate
from dannet_core.evaluation.std_sweep import StdSweep
from dannet_core.evaluation.submission import write_submission
from dannet_core.inference.backends import open_backend
from dannet_core.inference.presets import preset
from dannet_core.inference.segmenter import NightSegmenter
from dannet_core.pixels import write_png


class Counting:
    """A real backend that counts its calls."""

    def __init__(self, backend) -> None:
        self._backend, self.calls = backend, 0
        self.name, self.device = backend.name, backend.device
        self.metadata, self.fixed_input_size = backend.metadata, backend.fixed_input_size

    def infer(self, image, with_relit):
        self.calls += 1
        return self._backend.infer(image, with_relit)

    def close(self) -> None:
        self._backend.close()


def test_counts_every_picture_and_scores_each(segmenter, night):
    result = evaluate(segmenter, night)
    expected = ConfusionMatrix()
    for sample, score in zip(night, result.images, strict=True):
        one = ConfusionMatrix()
        one.add(sample.read_labels(), segmenter.segment(sample.read_image()).labels)
        expected += one
        assert (score.name, score.miou_present) == (sample.name, one.miou_present)
        assert score.pixel_accuracy == one.pixel_accuracy
    np.testing.assert_array_equal(result.confusion.counts, expected.counts)
    assert set(result.median_ms) == {"preprocess", "infer", "postprocess"}
    assert (result.data_set, result.split, result.root) == (night.name, night.split, night.root)
    assert result.sweep == {}


def test_the_worst_pictures_come_worst_first_with_their_panels(segmenter, night):
    result = evaluate(segmenter, night, worst=2)
    ranked = sorted(result.images, key=lambda one: one.miou_present)
    assert [one.name for one in result.worst] == [one.name for one in ranked[:2]]
    for one in result.worst:
        assert one.panel.shape == (320 + 48, 5 * 480 + 4 * 6, 3)
    # The first picture of the panel is the photograph.
    first = next(sample for sample in night if sample.name == ranked[0].name)
    shown = next(iter(result.worst)).panel[48:, :480]
    np.testing.assert_array_equal(shown, cv2.resize(first.read_image(), (480, 320), interpolation=cv2.INTER_AREA))
    assert len(evaluate(segmenter, night, worst=0).worst) == 0


@pytest.mark.parametrize("method", ["probabilities", "logits"])
def test_the_sweep_equals_evaluating_with_each_std_but_runs_the_network_once_a_picture(tiny_onnx, night, method):
    sweep = StdSweep((0.3, 0.0, 0.1))
    counting = Counting(open_backend(tiny_onnx))
    with NightSegmenter(sweep.watch(counting), preset("paper", reweight=method)) as segmenter:
        swept = evaluate(segmenter, night, sweep=sweep)
        assert counting.calls == len(night)
        assert list(swept.sweep) == [0.0, 0.1, 0.3]
        for std, confusion in swept.sweep.items():
            segmenter.settings = dataclasses.replace(segmenter.settings, reweight_std=std)
            np.testing.assert_array_equal(confusion.counts, evaluate(segmenter, night).confusion.counts)
    assert (swept.sweep[0.0].counts != swept.sweep[0.3].counts).any()


def test_a_sweep_starts_anew_for_every_data_set(tiny_onnx, night):
    sweep = StdSweep((0.16,))
    with NightSegmenter(sweep.watch(open_backend(tiny_onnx))) as segmenter:
        first, second = (evaluate(segmenter, night, sweep=sweep) for _ in range(2))
    np.testing.assert_array_equal(first.sweep[0.16].counts, second.sweep[0.16].counts)
    np.testing.assert_array_equal(first.sweep[0.16].counts, first.confusion.counts)


def test_a_sweep_needs_the_backend_it_watches_and_sensible_values(segmenter, night):
    with pytest.raises(SettingsError, match=r"make the segmenter with sweep\.watch"):
        evaluate(segmenter, night, sweep=StdSweep())
    with pytest.raises(SettingsError, match=r"stds: got \[2\]"):
        StdSweep((2,))


def test_pixels_below_the_minimum_confidence_count_as_missed(segmenter, night):
    segmenter.settings = preset("paper", min_confidence=1.0)
    result = evaluate(segmenter, night)
    labelled = result.confusion.counts.sum()
    assert result.confusion.counts[:, 19].sum() > 0.9 * labelled


def test_damaged_labels_are_found_before_the_first_picture_is_labelled(tiny_onnx, night):
    last = night[len(night) - 1].label_path
    write_png(last, np.full((80, 120), 77, np.uint8))
    counting = Counting(open_backend(tiny_onnx))
    with NightSegmenter(counting) as segmenter, pytest.raises(DataSetError, match="1 unusable label files"):
        evaluate(segmenter, night)
    assert counting.calls == 0


def test_a_picture_that_cannot_be_decoded_is_named(segmenter, night):
    path = night[1].image_path
    content = path.read_bytes()
    path.write_bytes(content[:60] + bytes(40) + content[100:])
    with pytest.raises(ImageError, match=rf"{path.name}: not a readable image"):
        evaluate(segmenter, night)


def test_a_picture_too_small_for_the_network_is_named(tiny_onnx, night):
    sample = night[0]
    write_png(sample.image_path, np.zeros((40, 60, 3), np.uint8))
    write_png(sample.label_path, np.zeros((40, 60), np.uint8))
    with (
        NightSegmenter.load(tiny_onnx) as segmenter,
        pytest.raises(ImageError, match=rf"{sample.image_path.name}: .*64"),
    ):
        evaluate(segmenter, night)


def test_files_exchanged_after_opening_are_named(segmenter, night):
    write_png(night[0].label_path, np.zeros((80, 100), np.uint8))
    with pytest.raises(
        DataSetError, match=rf"{night[0].label_path.name}: got labels of 100x80, expected 120x80 like .*rgb_anon.png"
    ):
        evaluate(segmenter, night)


def test_labels_without_a_labelled_pixel_and_splits_without_labels_are_errors(segmenter, night):
    for sample in night:
        write_png(sample.label_path, np.full((80, 120), 255, np.uint8))
    with pytest.raises(DataSetError, match="without a single labelled pixel"):
        evaluate(segmenter, night)
    unlabelled = tuple(dataclasses.replace(sample, label_path=None) for sample in night)
    with pytest.raises(DataSetError, match="use a labelled split"):
        evaluate(segmenter, DataSet("dark-zurich", "test", night.root, unlabelled))


def test_a_model_of_other_classes_is_refused(tiny_onnx, night):
    other = Counting(open_backend(tiny_onnx))
    other.metadata = other.metadata.replace(class_names=tuple(f"class {i}" for i in range(19)))
    with (
        NightSegmenter(other) as segmenter,
        pytest.raises(
            SettingsError,
            match=r"the model has the 19 classes of its own \(class 0, .*\), but .* has the 19 classes of cityscapes",
        ),
    ):
        evaluate(segmenter, night)


def test_the_labels_themselves_score_one(night):
    confusion = ConfusionMatrix()
    for sample in open_data_set("dark-zurich", night.root):
        confusion.add(sample.read_labels(), sample.read_labels())
    assert confusion.miou_present == confusion.pixel_accuracy == 1.0
    assert confusion.miou_19 == pytest.approx(7 / 19)


def test_a_picture_without_numbers_is_named_and_never_counted(blind_onnx, night):
    dark = night.samples[1].image_path
    write_png(dark, np.zeros((80, 120, 3), np.uint8))
    with NightSegmenter.load(blind_onnx) as blind:
        with pytest.raises(NotFiniteError, match=f"{dark.name}: the network gave no labels for this picture"):
            evaluate(blind, night)
        with pytest.raises(NotFiniteError, match=r"frame_000001_rgb_anon\.png: the network gave no labels"):
            write_submission(blind, night.samples, night.root / "submission.zip", (80, 120))
    assert not (night.root / "submission.zip").exists()
