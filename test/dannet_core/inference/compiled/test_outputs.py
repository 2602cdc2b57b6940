"""The compiled outputs against the NumPy ones, which are the reference."""

import threading

import numpy as np
import pytest

from dannet_core.class_set import CITYSCAPES
from dannet_core.classes import CITYSCAPES_CLASS_SHARES
from dannet_core.errors import NotFiniteError
from dannet_core.inference.output_job import OutputJob
from dannet_core.inference.outputs import SWITCH, NumpyOutputs, open_outputs
from dannet_core.inference.postprocess import class_scaling

pytest.importorskip("numba", reason="numba compiles them: pip install numba")

from dannet_core.inference.compiled.outputs import CompiledOutputs
from dannet_core.inference.compiled.threads import BandThreads

ALL = frozenset({"confidence", "confidence_bytes", "color", "overlay"})
SIZES = [
    ((34, 60), (270, 480)),  # stride 8
    ((17, 30), (271, 483)),  # pixels do not divide by cells
    ((130, 240), (65, 99)),  # more samples than pixels
    ((1, 5), (64, 70)),
    ((6, 1), (70, 64)),
    ((2, 2), (64, 1500)),  # one cell wider than a block
]


def logits_of(kind: str, size: tuple[int, int], classes: int = 19) -> np.ndarray:
    """K x h x w float32: a different class everywhere, ties, regions, or one class that is certain."""
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 5, (classes, *size)).astype(np.float32)
    if kind == "ties":
        return np.round(noise / 4).astype(np.float32)
    if kind == "certain":
        noise[classes // 2] += 60
    if kind == "regions":
        noise = noise / 20
        noise[0, : size[0] // 2] += 9
        noise[1, :, size[1] // 2 :] += 12
    return noise


def job(size: tuple[int, int], **changes) -> OutputJob:
    scaling = class_scaling("probabilities", changes.pop("shares", CITYSCAPES_CLASS_SHARES), 0.16)
    picture = np.random.default_rng(6).integers(0, 256, (*size, 3), dtype=np.uint8)
    return OutputJob(scaling, picture, **{"alpha": 0.3, "wanted": ALL, **changes})


@pytest.fixture(scope="module")
def maker():
    made = CompiledOutputs(2)
    yield made
    made.close()


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("kind", ["noise", "ties", "certain", "regions"])
@pytest.mark.parametrize(("samples", "size"), SIZES)
def test_every_label_and_color_equals_numpys_and_confidence_within_a_millionth(
    maker, samples, size, kind, align_corners
):
    logits, wanted = logits_of(kind, samples), job(size, align_corners=align_corners)
    ours, numpys = maker.make(logits, wanted), NumpyOutputs().make(logits, wanted)
    np.testing.assert_array_equal(ours.labels, numpys.labels)
    np.testing.assert_array_equal(ours.scores[: samples[0], : samples[1]], numpys.scores)
    np.testing.assert_array_equal(ours.outputs["color"], numpys.outputs["color"])
    np.testing.assert_allclose(ours.outputs["confidence"], numpys.outputs["confidence"], atol=2e-6)
    for name in ("confidence_bytes", "overlay"):
        difference = ours.outputs[name].astype(int) - numpys.outputs[name]
        assert np.abs(difference).max() <= 1
        assert ours.outputs[name].shape == numpys.outputs[name].shape
    again = maker.confidence(numpys.scores, size, align_corners)
    np.testing.assert_array_equal(again, ours.outputs["confidence"])


def test_confidence_lies_within_a_millionth_of_the_exact_one(maker):
    rng = np.random.default_rng(7)
    logits = rng.normal(0, 5, (19, 9, 11)).astype(np.float32)
    wanted = job((160, 200))
    made = maker.make(logits, wanted)
    scores = made.scores.astype(np.float64)
    down, right = np.arange(160) * (8 / 159), np.arange(200) * (10 / 199)
    top, left = np.minimum(down.astype(int), 7), np.minimum(right.astype(int), 9)
    below, beside = (down - top)[:, None, None], (right - left)[None, :, None]
    rows = scores[top] * (1 - below) + scores[top + 1] * below
    powers = np.exp((rows[:, left] * (1 - beside) + rows[:, left + 1] * beside).astype(np.float64))
    np.testing.assert_allclose(made.outputs["confidence"], powers.max(axis=2) / powers.sum(axis=2), atol=1e-6)


def byte_errors(maker, logits: np.ndarray, size: tuple[int, int], *, align_corners: bool) -> np.ndarray:
    """Of confidence bytes made alone, without numbers."""
    wanted = job(size, wanted=frozenset({"confidence_bytes"}), align_corners=align_corners)
    ours, numpys = maker.make(logits, wanted), NumpyOutputs().make(logits, wanted)
    assert set(ours.outputs) == {"confidence_bytes"}
    return ours.outputs["confidence_bytes"].astype(int) - numpys.outputs["confidence_bytes"]


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("kind", ["noise", "ties", "certain", "regions", "steep"])
@pytest.mark.parametrize(
    ("samples", "size"), [*SIZES, ((40, 50), (41, 53)), ((40, 50), (55, 70)), ((3, 4), (500, 300))]
)
def test_rough_bytes_alone_lie_within_one_of_the_exact_ones(maker, samples, size, kind, align_corners):
    logits = 40 * logits_of("noise", samples) if kind == "steep" else logits_of(kind, samples)
    errors = byte_errors(maker, logits, size, align_corners=align_corners)
    assert np.abs(errors).max() <= 1
    assert (errors != 0).mean() < 0.1


def test_rough_bytes_are_not_all_alike(maker):
    wanted = job((270, 480), wanted=frozenset({"confidence_bytes"}))
    assert maker.make(logits_of("noise", (34, 60)), wanted).outputs["confidence_bytes"].std() > 10


@pytest.mark.parametrize("align_corners", [True, False])
def test_rough_bytes_at_the_edges_are_those_of_the_outermost_samples(maker, align_corners):
    """Without aligned corners pixels beyond the outermost samples repeat them, and columns are not evenly spaced."""
    logits = np.zeros((19, 9, 12), np.float32)
    logits[2] = np.linspace(-40, 40, 12, dtype=np.float32)
    logits[5] = np.linspace(-30, 30, 9, dtype=np.float32)[:, None]
    errors = byte_errors(maker, logits, (288, 384), align_corners=align_corners)
    assert np.abs(errors).max() <= 1


@pytest.mark.parametrize("below", [5.0, 6.5, 8.0, 9.5])
def test_classes_that_are_little_alone_and_much_together_are_not_left_out(maker, below):
    logits = np.full((19, 34, 60), -below, np.float32)
    logits[3, :, :30], logits[4, :, 30:] = 0, 0
    wanted = job((270, 480), wanted=frozenset({"confidence_bytes"}))
    difference = maker.make(logits, wanted).outputs["confidence_bytes"].astype(int)
    difference -= NumpyOutputs().make(logits, wanted).outputs["confidence_bytes"]
    assert np.abs(difference).max() <= 1


def test_unsure_pixels_become_unknown_in_labels_and_colors(maker):
    logits = logits_of("regions", (34, 60))
    wanted = job((270, 480), min_confidence=0.9, wanted=frozenset({"color"}))
    ours, numpys = maker.make(logits, wanted), NumpyOutputs().make(logits, wanted)
    assert 0.01 < (ours.labels == 255).mean() < 0.99
    sure = maker.confidence(numpys.scores, (270, 480), True)
    clear = np.abs(sure - 0.9) > 1e-5
    np.testing.assert_array_equal(ours.labels[clear], numpys.labels[clear])
    assert (ours.outputs["color"][ours.labels == 255] == 0).all()


@pytest.mark.parametrize("classes", [2, 30, 255])
def test_any_number_of_classes(maker, classes):
    shares = tuple(np.full(classes, 1 / classes)) if classes > 2 else (0.75, 0.25)
    logits = logits_of("noise", (9, 12), classes)
    wanted = job((72, 96), shares=shares)
    ours, numpys = maker.make(logits, wanted), NumpyOutputs().make(logits, wanted)
    np.testing.assert_array_equal(ours.labels, numpys.labels)
    assert len(np.unique(ours.labels)) > min(classes, 60) / 2
    np.testing.assert_allclose(ours.outputs["confidence"], numpys.outputs["confidence"], atol=2e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("make_maker", [CompiledOutputs, NumpyOutputs])
def test_one_value_that_is_no_number_fails_the_picture(make_maker, bad):
    logits = logits_of("regions", (34, 60))
    logits[18, 33, 59] = bad
    maker = make_maker()
    with pytest.raises(NotFiniteError, match=r"stride_logits: 1 of 38760 values are NaN or infinite"):
        maker.make(logits, job((270, 480)))
    maker.close()


@pytest.mark.parametrize("make_maker", [CompiledOutputs, NumpyOutputs])
def test_writes_into_the_buffers_it_is_given_and_nowhere_else(make_maker):
    size, maker = (270, 480), make_maker()
    memory = {name: np.full((*size, 3), 7, np.uint8) for name in ("color", "overlay")}
    memory |= {name: np.full(size, 7, np.uint8) for name in ("labels", "confidence_bytes")}
    logits = logits_of("regions", (34, 60))
    made = maker.make(logits, job(size, into=memory))
    expected = NumpyOutputs().make(logits, job(size))
    assert np.shares_memory(made.labels, memory["labels"])
    np.testing.assert_array_equal(memory["labels"], expected.labels)
    for name in ("color", "overlay", "confidence_bytes"):
        assert np.shares_memory(made.outputs[name], memory[name])
        assert np.abs(memory[name].astype(int) - expected.outputs[name]).max() <= 1
    maker.close()


def test_takes_pictures_with_padded_rows_and_read_only_logits(maker):
    size = (270, 480)
    wide = np.random.default_rng(8).integers(0, 256, (270, 500, 3), dtype=np.uint8)
    logits = logits_of("regions", (34, 60))
    logits.flags.writeable = False
    made = maker.make(logits, OutputJob(job(size).scaling, wide[:, :480], wanted=ALL))
    expected = NumpyOutputs().make(logits, OutputJob(job(size).scaling, wide[:, :480].copy(), wanted=ALL))
    assert np.abs(made.outputs["overlay"].astype(int) - expected.outputs["overlay"]).max() <= 1


def test_one_thread_and_many_give_the_same(maker):
    logits, wanted = logits_of("noise", (34, 60)), job((270, 480))
    alone, many = CompiledOutputs(1), CompiledOutputs(7)
    for other in (alone, many):
        made, expected = other.make(logits, wanted), maker.make(logits, wanted)
        for name in ALL:
            np.testing.assert_array_equal(made.outputs[name], expected.outputs[name])
        other.close()


def test_its_threads_end_with_it():
    before = threading.active_count()
    maker = CompiledOutputs(3)
    made = maker.make(logits_of("noise", (34, 60)), job((270, 480)))
    maker.close()
    maker.close()
    assert threading.active_count() == before
    # A prediction outlives the segmenter that made it.
    np.testing.assert_array_equal(maker.confidence(made.scores, (270, 480), True), made.outputs["confidence"])


def test_a_failure_in_any_part_is_raised_after_all_threads_have_stopped():
    threads, done = BandThreads(3), []

    def work(first: int, last: int) -> None:
        if first == 0:
            raise ValueError("part 0")
        done.append((first, last))

    with pytest.raises(ValueError, match="part 0"):
        threads.run(work, 24)
    threads.run(lambda first, last: done.append((first, last)), 5)
    assert sorted(done[-5:]) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    threads.close()


def test_a_thread_that_has_not_woken_is_not_waited_for():
    threads, done, release = BandThreads(2), [], threading.Event()
    threads._pool.submit(release.wait, 60)
    threads.run(lambda first, last: done.append((first, last)), 8)
    assert sorted(done) == [(first, first + 1) for first in range(8)]
    release.set()
    threads.run(lambda first, last: done.append((first, last)), 8)
    assert len(done) == 16
    threads.close()


def test_numpy_takes_over_where_numba_cannot_be_imported_or_is_switched_off(monkeypatch):
    logits, wanted = logits_of("regions", (9, 12)), job((72, 96), colormap=CITYSCAPES.colormap)
    expected = NumpyOutputs().make(logits, wanted)
    with monkeypatch.context() as patched:
        patched.setitem(__import__("sys").modules, "dannet_core.inference.compiled.outputs", None)
        made = open_outputs()
        assert made.name == "numpy"
        assert "numba cannot be imported" in made.why
        np.testing.assert_array_equal(made.make(logits, wanted).labels, expected.labels)
    monkeypatch.setenv(SWITCH, "numpy")
    assert open_outputs().why == "DANNET_OUTPUTS=numpy was set"
    monkeypatch.delenv(SWITCH)
    fast = open_outputs(1)
    assert (fast.name, fast.why) == ("numba", "")
    fast.close()
