"""The sequence of a frame over streams, slots and graphs: on a device that defers and shuffles whatever it may."""

import gc

import cv2
import numpy as np
import pytest

from dannet_core import NightSegmenter, preset
from dannet_core.errors import BackendError, EngineError, SettingsError
from dannet_core.inference.camera_image import ENCODINGS, CameraImage
from dannet_core.inference.frame import EXTRA_OUTPUTS
from dannet_core.pixels import overlay


def pictures(count: int, height: int = 90, width: int = 140) -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    small = rng.integers(0, 256, (count, 6, 9, 3), dtype=np.uint8)
    return [cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in small]


def agreement(ours, theirs) -> float:
    return float((ours.labels == theirs.labels).mean())


@pytest.fixture
def reference(tiny_onnx):
    with NightSegmenter.load(tiny_onnx) as segmenter:
        yield segmenter


@pytest.mark.parametrize("settings", [preset("paper"), preset("paper", reweight="logits", resize="antialiased")])
def test_a_frame_on_the_device_is_what_the_cpu_path_makes(make_backend, reference, settings):
    backend, _ = make_backend()
    reference.settings = settings
    with NightSegmenter(backend, settings) as segmenter:
        for rgb in pictures(5):
            ours, theirs = (one.segment(rgb, outputs=EXTRA_OUTPUTS, alpha=0.4) for one in (segmenter, reference))
            assert agreement(ours, theirs) >= 0.999
            assert set(ours.timings_ms) == {"preprocess", "infer", "postprocess"}
            np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=0.02)
            np.testing.assert_array_equal(ours.outputs["color"], ours.colorize())
            difference = ours.outputs["overlay"].astype(int) - overlay(rgb, ours.labels, 0.4)
            assert np.abs(difference).max() <= 1
            assert np.abs(ours.relit.astype(int) - theirs.relit).max() <= 1


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_overlapped_frames_come_out_in_order_and_unmixed_whatever_the_device_does_first(make_backend, seed, graphs):
    backend, device = make_backend(seed=seed, graphs=graphs)
    plain, _ = make_backend(graphs=False)
    frames = pictures(9)
    with NightSegmenter(plain) as one:
        expected = [one.segment(rgb).labels for rgb in frames]
    labels = []
    with NightSegmenter(backend) as segmenter:
        segmenter.submit(frames[0].copy())
        for rgb in frames[1:]:
            mutable = rgb.copy()
            segmenter.submit(mutable)
            mutable[:] = 0  # the pixels are the caller's again
            labels.append(segmenter.collect().labels)
        labels.append(segmenter.collect().labels)
    for ours, theirs in zip(labels, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (device.graph_launches > 0) == graphs


def test_a_whole_frame_is_one_graph_from_its_second_time_on(make_backend):
    backend, device = make_backend()
    with NightSegmenter(backend) as segmenter:
        results = [segmenter.segment(pictures(1)[0]).labels for _ in range(8)]
        assert (device.captures, device.graph_launches) == (2, 6)
        assert backend.graph_state() == ""
    for labels in results:
        np.testing.assert_array_equal(labels, results[0])


def test_where_nothing_can_be_captured_frames_run_piece_by_piece_and_it_says_why(make_backend):
    backend, device = make_backend(capturing=False)
    with NightSegmenter(backend) as segmenter:
        results = [segmenter.segment(pictures(1)[0]).labels for _ in range(4)]
        assert backend.graph_state() == "graph: not captured: this device cannot"
    assert device.graph_launches == 0
    np.testing.assert_array_equal(results[3], results[0])


def test_nothing_is_allocated_after_warm_up_and_everything_freed_at_the_end(make_backend):
    backend, device = make_backend()
    with NightSegmenter(backend) as segmenter:
        segmenter.warm_up((90, 140))
        allocations, captures = device.allocations, device.captures
        for rgb in pictures(10):
            segmenter.segment(rgb)
        assert (device.allocations, device.captures) == (allocations, captures)
        assert backend.memory_mib() > 0
    assert not device.live
    assert not device.live_pinned
    assert device.closed


def test_a_camera_that_changes_its_size_gets_new_buffers_and_graphs(make_backend, reference):
    backend, device = make_backend()
    big, small = pictures(1, 150, 220)[0], pictures(1, 80, 100)[0]
    with NightSegmenter(backend) as segmenter:
        for rgb in [small] * 4 + [big] * 4 + [small] * 4:
            prediction = segmenter.segment(rgb)
            assert prediction.labels.shape == rgb.shape[:2]
            assert agreement(prediction, reference.segment(rgb)) >= 0.999
    assert not device.live


def test_many_formats_and_requests_keep_a_bounded_number_of_plans(make_backend):
    backend, device = make_backend()
    rgb = pictures(1)[0]
    with NightSegmenter(backend) as segmenter:
        counts = []
        for alpha in np.linspace(0, 1, 30):
            segmenter.segment(rgb, outputs={"overlay"}, alpha=float(alpha))
            counts.append(len(device.live))
    assert counts[-1] == counts[10]
    assert not device.live


@pytest.mark.parametrize("encoding", ["bgr8", "mono8", "yuyv", "nv12", "nv24", "bayer_rggb8"])
def test_camera_bytes_go_to_the_device_as_they_are(make_backend, reference, encoding):
    backend, _ = make_backend()
    grey = np.random.default_rng(0).integers(0, 256, 300 * 100 * 3, dtype=np.uint8)
    rows = cv2.GaussianBlur(grey.reshape(300, 300), (31, 31), 9)[: int(90 * ENCODINGS[encoding].rows_per_row)]
    camera = CameraImage(rows.reshape(-1), 90, 96, 300, encoding)
    with NightSegmenter(backend) as segmenter:
        ours, theirs = (one.segment(camera, outputs={"overlay"}) for one in (segmenter, reference))
    assert agreement(ours, theirs) >= 0.999
    same = ours.labels == theirs.labels
    assert np.abs(ours.outputs["overlay"].astype(int) - theirs.outputs["overlay"])[same].max() <= 1


def test_half_precision_networks_are_fed_and_read_in_half(make_backend, reference):
    backend, _ = make_backend(kind="float16")
    with NightSegmenter(backend) as segmenter:
        for rgb in pictures(3):
            assert agreement(segmenter.segment(rgb), reference.segment(rgb)) >= 0.99


def test_a_prediction_that_is_kept_can_be_asked_later_and_one_that_is_dropped_costs_nothing(make_backend):
    backend, device = make_backend()
    plain, _ = make_backend()
    frames = pictures(6)
    with NightSegmenter(plain) as one:
        expected = [(p.confidence, p.relit) for p in map(one.segment, frames)]
    with NightSegmenter(backend) as segmenter:
        kept = [segmenter.segment(rgb) for rgb in frames]
    for prediction, (confidence, relit) in zip(kept, expected, strict=True):
        np.testing.assert_array_equal(prediction.confidence, confidence)
        np.testing.assert_array_equal(prediction.relit, relit)
    backend, device = make_backend()
    fetches = []
    download = device.download
    device.download = lambda target, source, stream: (fetches.append(target.shape), download(target, source, stream))
    with NightSegmenter(backend) as segmenter:
        for rgb in frames:
            segmenter.segment(rgb)
            gc.collect()
    assert {shape for shape in fetches if len(shape) == 4} == set()


def test_relit_is_not_kept_where_it_was_not_wanted(make_backend):
    backend, _ = make_backend()
    with NightSegmenter(backend) as segmenter:
        prediction = segmenter.segment(pictures(1)[0], with_relit=False)
        with pytest.raises(BackendError, match="with_relit=True"):
            _ = prediction.relit


def test_full_resolution_scores_without_a_relit_picture(make_backend, tmp_path):
    pytest.importorskip("onnx", reason="onnx builds the test model")
    from foreign_graphs import TinyGraph

    from dannet_core.deploy.adopt import adopt

    adopt(TinyGraph().classify().enlarge().save(tmp_path / "theirs.onnx"), tmp_path / "ours.onnx")
    backend, _ = make_backend(model=tmp_path / "ours.onnx")
    frames = pictures(3)
    with NightSegmenter(backend) as segmenter, NightSegmenter.load(tmp_path / "ours.onnx") as reference:
        kept = [segmenter.segment(rgb) for rgb in frames]
        for rgb, prediction in zip(frames, kept, strict=True):
            expected = reference.segment(rgb)
            assert agreement(prediction, expected) >= 0.999
            np.testing.assert_allclose(prediction.confidence, expected.confidence, atol=2e-3)
            with pytest.raises(SettingsError, match="relit: the model has no relighting network"):
                _ = prediction.relit
        image = np.zeros((1, 3, 64, 96), np.float32)
        assert backend.infer(image, with_relit=True).relit is None


def test_pixels_below_min_confidence_are_unknown(make_backend, reference):
    backend, _ = make_backend()
    rgb = pictures(1)[0]
    threshold = float(np.median(reference.segment(rgb).confidence))
    reference.settings = settings = preset("paper", min_confidence=threshold)
    with NightSegmenter(backend, settings) as segmenter:
        ours, theirs = segmenter.segment(rgb), reference.segment(rgb)
    assert 0.3 < (ours.labels == 255).mean() < 0.7
    assert agreement(ours, theirs) >= 0.99


def test_a_network_that_cannot_be_recorded_is_asked_once_and_frames_go_on_without_graphs(make_backend, reference):
    backend, device = make_backend()
    network = backend._network
    network.refuses = "graph: not this one"
    rgb = pictures(1)[0]
    with NightSegmenter(backend) as segmenter:
        for _ in range(6):
            assert agreement(segmenter.segment(rgb), reference.segment(rgb)) >= 0.999
        assert segmenter.graph_state() == "graph: not this one"
    assert (network.asked_to_capture, device.captures, device.graph_launches) == (1, 0, 0)


def test_profiling_gives_the_time_of_every_stage_and_uses_no_graph(make_backend):
    backend, device = make_backend()
    with NightSegmenter(backend) as segmenter:
        backend.set_profiling(True)
        timings = [segmenter.segment(pictures(1)[0]).timings_ms for _ in range(4)][-1]
        stages = ("upload", "preprocess", "infer", "postprocess", "download")
        assert {f"device_{stage}" for stage in stages} <= set(timings)
        segmenter.submit(pictures(1)[0])
        with pytest.raises(BackendError, match="profiling: 1 frames are in flight: collect them first"):
            backend.set_profiling(False)
        segmenter.collect()
    assert device.graph_launches == 0


def test_the_queue_of_frames_is_two_long_and_says_so(make_backend):
    backend, _ = make_backend()
    rgb = pictures(1)[0]
    with NightSegmenter(backend) as segmenter:
        with pytest.raises(BackendError, match="collect: nothing is in flight: submit a picture first"):
            segmenter.collect()
        segmenter.submit(rgb)
        segmenter.submit(rgb)
        with pytest.raises(BackendError, match="submit: 2 pictures are in flight: collect one first"):
            segmenter.submit(rgb)
        with pytest.raises(BackendError, match="segment: 2 submitted pictures are in flight: collect them first"):
            segmenter.segment(rgb)
        segmenter.collect()


def test_an_unknown_output_is_named(make_backend):
    backend, _ = make_backend()
    with (
        NightSegmenter(backend) as segmenter,
        pytest.raises(SettingsError, match="outputs: got 'depth', expected some"),
    ):
        segmenter.segment(pictures(1)[0], outputs={"depth"})


def test_too_little_memory_is_an_engine_error_and_a_smaller_picture_still_runs(make_backend):
    backend, _ = make_backend(capacity=2_000_000)
    with NightSegmenter(backend) as segmenter:
        with pytest.raises(EngineError, match="out of memory"):
            segmenter.segment(pictures(1, 600, 1000)[0])
        rgb = pictures(1)[0]
        assert segmenter.segment(rgb).labels.shape == rgb.shape[:2]
