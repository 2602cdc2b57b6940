"""evaluate_bag end to end on small bags and a tiny real model, without DDS."""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hangup import hangups_heard

from dannet_core import NightSegmenter
from dannet_core.pixels import colorize, write_png
from dannet_ros.replay.__main__ import main
from dannet_ros.replay.bag_reading import open_bag

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
ROOT = Path(__file__).parents[3]
COUNT = 5


@pytest.fixture
def bag(bags, tmp_path: Path) -> Path:
    return bags.write(tmp_path / "drive", bags.frames(COUNT), bags.labels(COUNT))


def evaluate(bag: Path, model: Path, out: Path, *more: str) -> dict[str, Any]:
    assert main(["evaluate_bag", str(bag), "--model", str(model), "--out", str(out), *more]) == 0
    return results(out)


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "metrics.json").read_text())


def timeless(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != "timing"}


def predictions(model: Path, pictures: list[np.ndarray]) -> list[np.ndarray]:
    with NightSegmenter.load(model) as segmenter:
        return [segmenter.segment(picture).labels for picture in pictures]


def images(path: Path, topic: str) -> list[Any]:
    with open_bag(path) as opened:
        return list(opened.images([topic]))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_every_frame_once_in_order_and_the_same_again_to_the_bit(
    bags, tiny_onnx: Path, tmp_path: Path, storage: str
) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(COUNT), bags.labels(COUNT), storage=storage)
    first = evaluate(bag, tiny_onnx, tmp_path / "a")
    second = evaluate(bag, tiny_onnx, tmp_path / "b")
    assert timeless(first) == timeless(second)
    assert [frame["stamp_ns"] for frame in first["frames"]] == [bags.START_NS + i * bags.STEP_NS for i in range(COUNT)]
    assert (first["frames_read"], first["frames_labelled"], first["complete"]) == (COUNT, COUNT, True)
    assert len(first["timing"]["models"]["tiny"]["frames_ms"]) == COUNT


def test_scores_equal_those_of_evaluate_on_the_same_images(bags, tiny_onnx: Path, tmp_path: Path) -> None:
    from dannet_core.cli.main import main as dannet

    pictures, truths = bags.frames(COUNT), bags.labels(COUNT)
    bag = bags.write(tmp_path / "bag", pictures, truths)
    root = tmp_path / "dark_zurich"
    for name in ("rgb_anon", "gt"):
        (root / name / "val/night/GOPR0356").mkdir(parents=True)
    for index, (picture, truth) in enumerate(zip(pictures, truths, strict=True)):
        frame = f"val/night/GOPR0356/GOPR0356_frame_{index:06d}"
        write_png(root / "rgb_anon" / f"{frame}_rgb_anon.png", picture)
        write_png(root / "gt" / f"{frame}_gt_labelTrainIds.png", truth)
    arguments = ["--model", str(tiny_onnx), "--dataset", "dark-zurich", "--root", str(root)]
    assert dannet(["evaluate", *arguments, "--out", str(tmp_path / "e")]) == 0
    expected = results(tmp_path / "e")
    (model,) = evaluate(bag, tiny_onnx, tmp_path / "b")["models"]
    assert model["scores"]["miou_present"] > 0
    assert {key: expected[key] for key in model["scores"]} == model["scores"]


def test_without_ground_truth_it_says_what_labels_there_are_and_how_they_flicker(
    bags, tiny_onnx: Path, tmp_path: Path
) -> None:
    pictures = bags.frames(COUNT)
    bag = bags.write(tmp_path / "bag", pictures)
    content = evaluate(bag, tiny_onnx, tmp_path / "out")
    (model,), labels = content["models"], predictions(tiny_onnx, pictures)
    assert model["scores"] is None
    changed = [float((one != before).mean()) for before, one in itertools.pairwise(labels)]
    assert [frame["models"]["tiny"]["flicker"] for frame in content["frames"]] == pytest.approx([None, *changed])
    assert model["flicker"]["mean"] == pytest.approx(np.mean(changed))
    road = np.mean([(one == 0).mean() for one in labels])
    assert model["label_shares"]["road"] == pytest.approx(road)
    assert sum(model["label_shares"].values()) == pytest.approx(1)
    with NightSegmenter.load(tiny_onnx) as segmenter:
        confidence = [segmenter.segment(picture).confidence.mean() for picture in pictures]
    assert model["confidence"]["mean"] == pytest.approx(np.mean(confidence), rel=1e-5)


def test_the_new_bag_has_labels_beside_the_untouched_originals(
    bags, tiny_onnx: Path, bag: Path, tmp_path: Path
) -> None:
    evaluate(bag, tiny_onnx, tmp_path / "out", "--overlay-alpha", "0.25")
    new, pictures = tmp_path / "out" / "bag", bags.frames(COUNT)
    with open_bag(bag) as before, open_bag(new) as after:
        assert list(before.raw(list(before.kinds))) == list(after.raw(list(before.kinds)))
        added = set(after.kinds) - set(before.kinds)
        assert added == {f"/night_seg/{name}" for name in ("label", "color", "overlay")}
    expected = predictions(tiny_onnx, pictures)
    for picture, labels, label, color, overlay in zip(
        pictures, expected, *(images(new, f"/night_seg/{name}") for name in ("label", "color", "overlay")), strict=True
    ):
        np.testing.assert_array_equal(label.rgb[..., 0], labels)
        np.testing.assert_array_equal(color.rgb, colorize(labels))
        blend = cv2.addWeighted(picture, 0.75, colorize(labels), 0.25, 0)
        np.testing.assert_array_equal(overlay.rgb, blend)
    stamps = [(one.stamp_ns, one.header.frame_id) for one in images(bag, "/camera/image")]
    for name in ("label", "color", "overlay"):
        assert [(one.stamp_ns, one.header.frame_id) for one in images(new, f"/night_seg/{name}")] == stamps


def test_the_new_bag_may_hold_the_outputs_alone_or_not_be_written(tiny_onnx: Path, bag: Path, tmp_path: Path) -> None:
    evaluate(bag, tiny_onnx, tmp_path / "some", "--write-bag", "outputs", "--storage", "sqlite3")
    with open_bag(tmp_path / "some" / "bag") as opened:
        assert set(opened.kinds) == {"/night_seg/label", "/night_seg/color", "/night_seg/overlay"}
    evaluate(bag, tiny_onnx, tmp_path / "none", "--write-bag", "none")
    assert sorted(path.name for path in (tmp_path / "none").iterdir()) == ["metrics.json", "report.html"]


@pytest.mark.parametrize("compression", ["FILE", "MESSAGE", "STORAGE"])
def test_a_compressed_bag_gives_the_figures_of_the_plain_one(
    bags, tiny_onnx: Path, bag: Path, tmp_path: Path, compression: str
) -> None:
    packed = bags.write(tmp_path / "packed", bags.frames(COUNT), bags.labels(COUNT), compression=compression)
    plain = evaluate(bag, tiny_onnx, tmp_path / "a", "--write-bag", "none")
    other = evaluate(packed, tiny_onnx, tmp_path / "b", "--write-bag", "none")
    assert (other["models"], other["frames"]) == (plain["models"], plain["frames"])


def test_two_cameras_raw_and_png_with_ground_truth_of_their_own(bags, tiny_onnx: Path, tmp_path: Path) -> None:
    left, right = bags.frames(3, seed=1), bags.frames(2, seed=2)
    truth = bags.labels(3)
    (tmp_path / "labels").mkdir()
    for index in range(2):
        write_png(tmp_path / "labels" / f"{bags.START_NS + index * bags.STEP_NS}.png", truth[index])
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        for index in range(3):
            recorder.image("/left/image_raw", index, left[index], frame_id="left")
            recorder.image("/truth", index, truth[index])
            if index < 2:
                png = cv2.imencode(".png", cv2.cvtColor(right[index], cv2.COLOR_RGB2BGR))[1]
                recorder.compressed("/right/image_raw/compressed", index, png.tobytes())
    topics = ["/left/image_raw", "/right/image_raw/compressed"]
    labels = ["--topics", *topics, "--labels", "/truth", str(tmp_path / "labels")]
    content = evaluate(tmp_path / "bag", tiny_onnx, tmp_path / "out", *labels)
    assert [frame["topic"] for frame in content["frames"]] == [*topics, *topics, topics[0]]
    (model,) = content["models"]
    by_topic = model["topics"]
    assert [by_topic[topic]["frames"] for topic in topics] == [3, 2]
    pixels = [sum(map(sum, by_topic[topic]["scores"]["confusion_matrix"]["pixels"])) for topic in topics]
    assert pixels == [sum(int((one != 255).sum()) for one in some) for some in (truth, truth[:2])]
    assert sum(map(sum, model["scores"]["confusion_matrix"]["pixels"])) == sum(pixels)
    expected = predictions(tiny_onnx, [*left, *right])
    new = tmp_path / "out" / "bag"
    found = [*images(new, "/left/night_seg/label"), *images(new, "/right/night_seg/label")]
    for labels_, image in zip(expected, found, strict=True):
        np.testing.assert_array_equal(image.rgb[..., 0], labels_)
    assert found[0].header.frame_id == "left"


def test_a_bag_recorded_beside_the_node_keeps_the_labels_it_has(bags, tiny_onnx: Path, tmp_path: Path) -> None:
    pictures, recorded = bags.frames(2), bags.labels(2)
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        for index in range(2):
            recorder.image("/camera/image", index, pictures[index])
            recorder.image("/night_seg/label", index, recorded[index])
    content = evaluate(tmp_path / "bag", tiny_onnx, tmp_path / "out")
    assert {frame["topic"] for frame in content["frames"]} == {"/camera/image"}
    new = tmp_path / "out" / "bag"
    for index, image in enumerate(images(new, "/night_seg/label")):
        np.testing.assert_array_equal(image.rgb[..., 0], recorded[index])
    found = images(new, "/camera/image/night_seg/label")
    np.testing.assert_array_equal(found[1].rgb[..., 0], predictions(tiny_onnx, pictures)[1])


def test_half_a_bag_is_evaluated_as_far_as_it_goes_and_says_so(
    bags, tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(40), bags.labels(40))
    file = next(bag.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    content = evaluate(bag, tiny_onnx, tmp_path / "out")
    assert 10 < content["frames_labelled"] < 40
    assert (content["complete"], content["interrupted"]) == (False, False)
    assert "warning: bag.mcap: cut off after" in capsys.readouterr().out
    assert "cut off after" in (tmp_path / "out" / "report.html").read_text()
    assert len(images(tmp_path / "out" / "bag", "/night_seg/label")) == content["frames_labelled"]


def test_a_damaged_frame_is_counted_with_its_reason_and_the_rest_goes_on(bags, tiny_onnx: Path, tmp_path: Path) -> None:
    pictures = bags.frames(4)
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        for index, picture in enumerate(pictures):
            png = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
            recorder.compressed("/cam/compressed", index, png[:-40] if index == 1 else png)
    content = evaluate(tmp_path / "bag", tiny_onnx, tmp_path / "out")
    assert (content["frames_read"], content["frames_labelled"], content["frames_refused"]) == (4, 3, 1)
    assert "truncated PNG" in content["frames"][1]["refused"]
    # The frame before the damaged one is not the neighbour of the one after it.
    flickers = [frame["models"]["tiny"]["flicker"] for frame in content["frames"] if "models" in frame]
    assert [flicker is None for flicker in flickers] == [True, True, False]


def test_labels_of_another_drive_are_pointed_out(bags, tiny_onnx: Path, tmp_path: Path) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(2))
    (tmp_path / "labels").mkdir()
    write_png(tmp_path / "labels" / "1600000000000000000.png", bags.labels(1)[0])
    content = evaluate(bag, tiny_onnx, tmp_path / "out", "--labels", str(tmp_path / "labels"))
    (problem,) = content["ground_truth_problems"]
    assert "no frame of /camera/image has a label" in problem
    assert "1700000000000000000" in problem
    assert "1600000000000000000" in problem


def test_stamps_that_stand_still_give_no_score_and_say_why(bags, tiny_onnx: Path, tmp_path: Path, capsys: Any) -> None:
    pictures, truths = bags.frames(3), bags.labels(3)
    with bags.record(tmp_path / "bag") as writer:
        recorder = bags.Recorder(writer)
        for index in range(3):
            recorder.image("/camera/image", index, pictures[index], stamp_ns=0)
            recorder.image("/ground_truth/label", index, truths[index], stamp_ns=0)
    content = evaluate(tmp_path / "bag", tiny_onnx, tmp_path / "out")
    assert (content["frames_labelled"], content["models"][0]["scores"]) == (3, None)
    (problem,) = content["ground_truth_problems"]
    assert problem == "/ground_truth/label: labels of stamp 0 left out: several labels have it"
    assert content["bag"]["notes"] == ["/camera/image: 2 of 3 frames repeat the stamp of another"]
    assert "2 of 3 frames repeat the stamp of another" in capsys.readouterr().out
    found = images(tmp_path / "out" / "bag", "/night_seg/label")
    for expected, got in zip(predictions(tiny_onnx, pictures), found, strict=True):
        np.testing.assert_array_equal(got.rgb[..., 0], expected)


def test_two_models_side_by_side(bags, tiny_onnx: Path, bag: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(_with_swapped_classes(tiny_onnx))
    content = evaluate(bag, tiny_onnx, tmp_path / "out", "--compare", str(other))
    assert [model["name"] for model in content["models"]] == ["tiny", "other"]
    pictures = bags.frames(COUNT)
    pairs = zip(predictions(tiny_onnx, pictures), predictions(other, pictures), strict=True)
    assert content["agreement"]["mean"] == pytest.approx(np.mean([(a == b).mean() for a, b in pairs]))
    alone = evaluate(bag, other, tmp_path / "alone", "--write-bag", "none")
    assert content["models"][1]["scores"] == alone["models"][0]["scores"]
    found = images(tmp_path / "out" / "bag", "/night_seg_other/label")
    np.testing.assert_array_equal(found[0].rgb[..., 0], predictions(other, pictures[:1])[0])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "labels of other" in page
    assert f"{100 * content['agreement']['mean']:.1f} %" in page


def _with_swapped_classes(model: Path) -> bytes:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(model))
    for tensor in graph.graph.initializer:
        if tensor.name in ("kernel", "bias"):
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.roll(values, 1, axis=0).copy(), tensor.name))
    return bytes(graph.SerializeToString())


class _Page(HTMLParser):
    VOID = ("meta", "br", "img", "line", "rect", "circle", "polyline", "path", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.data: dict[str, Any] = {}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attributes if name in ("src", "href")]
        self._island = dict(attributes).get("id") if tag == "script" else None
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script" and self._island:
            self.data[self._island] = json.loads(data)


def read_page(path: Path) -> tuple[str, _Page]:
    text, page = path.read_text(encoding="utf-8"), _Page()
    page.feed(text)
    return text, page


def test_the_report_is_one_whole_page_with_everything_inside(tiny_onnx: Path, bag: Path, tmp_path: Path) -> None:
    content = evaluate(bag, tiny_onnx, tmp_path / "out", "--worst", "2")
    text, page = read_page(tmp_path / "out" / "report.html")
    assert page.open == []
    pictures = [source for source in page.sources if not source.startswith("#frame=")]
    assert len(pictures) == 2 * 4
    assert all(source.startswith("data:image/") for source in pictures)
    assert page.tags.count("svg") == 0
    assert text.count('<figure class="chart"') == 3  # drive, confusion, compute time
    assert text.count("plotly.js v") == 1
    (model,) = content["models"]
    assert f"{100 * model['scores']['miou_present']:.2f} %" in text
    worst = sorted(range(COUNT), key=lambda i: content["frames"][i]["models"]["tiny"]["miou_present"])[:2]
    assert model["worst_frames"] == worst
    assert f"<b>frame {worst[0]}</b>" in text


def test_the_report_has_every_frame_with_its_figures_and_pictures(tiny_onnx: Path, bag: Path, tmp_path: Path) -> None:
    content = evaluate(bag, tiny_onnx, tmp_path / "out")
    _, page = read_page(tmp_path / "out" / "report.html")
    data = page.data["explorer-data"]
    assert data["frames"]["number"] == list(range(COUNT))
    assert data["frames"]["stamp"] == [str(frame["stamp_ns"]) for frame in content["frames"]]
    (figures,) = data["frames"]["models"]
    for key, of in (("miou", "miou_present"), ("confidence", "confidence"), ("flicker", "flicker")):
        expected = [frame["models"]["tiny"][of] for frame in content["frames"]]
        assert [None if one is None else pytest.approx(one, rel=1e-3) for one in figures[key]] == expected
    assert figures["ms"] == pytest.approx(content["timing"]["models"]["tiny"]["frames_ms"], rel=1e-3)
    assert [title["title"] for title in data["pictures"]["titles"]] == ["camera", "ground truth", "labels", "error"]
    assert [len(pictures) for pictures in data["pictures"]["frames"].values()] == [4] * COUNT


def test_without_the_report_packages_everything_else_is_written(tiny_onnx: Path, bag: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f"""
        import sys
        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("jinja2", "plotly", "matplotlib"):
                    raise ImportError("blocked: " + name, name=name.split(".")[0])
        sys.meta_path.insert(0, Block())
        from dannet_ros.replay.__main__ import main
        sys.exit(main(["evaluate_bag", {str(bag)!r}, "--model", {str(tiny_onnx)!r}, "--out", {str(out)!r}]))
        """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT, env=os.environ)
    assert done.returncode == 0, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if "report.html" in line]
    assert said.endswith("cannot be imported: pip install 'dannet_ros[report]'")
    assert "report.html" not in done.stdout
    assert sorted(path.name for path in out.iterdir()) == ["bag", "metrics.json"]
    assert timeless(results(out)) == timeless(evaluate(bag, tiny_onnx, tmp_path / "other"))


def test_names_that_are_html_are_shown_and_not_run(bags, tiny_onnx: Path, tmp_path: Path) -> None:
    model = tmp_path / "<img src=x onerror=alert(1)>.onnx"
    model.write_bytes(tiny_onnx.read_bytes())
    bag = bags.write(tmp_path / "<b>drive", bags.frames(2), bags.labels(2))
    evaluate(bag, model, tmp_path / "out", "--compare", str(tiny_onnx), "--write-bag", "none")
    text, page = read_page(tmp_path / "out" / "report.html")
    assert page.open == []
    assert "<img src=x" not in text
    assert "<h1>&lt;b&gt;drive</h1>" in text
    assert page.data["explorer-data"]["models"] == [model.stem, "tiny"]
    assert all(source.startswith(("data:image/", "#frame=")) for source in page.sources)


@pytest.mark.parametrize("numbers", [(signal.SIGINT,), (signal.SIGHUP, signal.SIGHUP)])
def test_interrupted_it_keeps_what_was_done(bags, tiny_onnx: Path, tmp_path: Path, numbers: tuple[int, ...]) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(COUNT) * 200, bags.labels(COUNT) * 200)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dannet_ros.replay", "evaluate_bag", str(bag), "--model", str(tiny_onnx)]
    with hangups_heard():
        process = subprocess.Popen(
            [*command, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
    deadline, written = time.monotonic() + 300, None
    while written is None and time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            written = next((p for p in out.glob(".bag.*.partial/bag/*.mcap") if p.stat().st_size > 50_000), None)
        time.sleep(0.005)
    assert process.poll() is None, "it was done before it could be interrupted"
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.01)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "interrupted" in output
    content = results(out)
    assert content["interrupted"]
    assert 0 < content["frames_labelled"] < 5 * 200
    assert sorted(path.name for path in out.iterdir()) == ["bag", "metrics.json", "report.html"]
    assert len(images(out / "bag", "/night_seg/label")) == content["frames_labelled"]


def test_an_onnx_model_needs_neither_torch_nor_ros(tiny_onnx: Path, bag: Path, tmp_path: Path) -> None:
    blocked = ("torch", "torchvision", "onnx", "safetensors", "rclpy", "sensor_msgs", "std_msgs", "diagnostic_msgs")
    script = f"""
        import sys
        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {blocked!r}:
                    raise ImportError("blocked: " + name, name=name.split(".")[0])
        sys.meta_path.insert(0, Block())
        from dannet_ros.replay.__main__ import main
        arguments = ["evaluate_bag", {str(bag)!r}, "--model", {str(tiny_onnx)!r}, "--out", {str(tmp_path / "out")!r}]
        assert main(arguments) == 0
        print(main([*arguments, "--overwrite", "--live"]))
        """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT, env=os.environ)
    assert result.stdout.splitlines()[-1] == "2", result.stderr
    assert results(tmp_path / "out")["frames_labelled"] == COUNT
    assert "rclpy is needed to replay live" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"BAG": "nowhere"}, "nowhere: no such bag"),
        ({"--model": "nowhere.onnx"}, "nowhere.onnx: no such model file"),
        ({"--compare": "MODEL"}, "expected another model than --model"),
        ({"--topics": "/other"}, "no topic /other: it holds /camera/image"),
        ({"--topics": "/note"}, "topic /note holds std_msgs/msg/String, expected sensor_msgs/msg/Image"),
        ({"--labels": "/other"}, "labels: got /other, expected a topic of the bag (/camera/image"),
        ({"--out": "BAG/metadata.yaml"}, "is a file, expected a folder"),
        ({"--worst": "-1"}, "worst: got -1, expected 0 to 100"),
    ],
)
def test_mistakes_are_one_line_with_exit_code_2(
    tiny_onnx: Path, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], said: str
) -> None:
    arguments = {"BAG": str(bag), "--model": str(tiny_onnx), "--out": str(tmp_path / "out")}
    for name, value in changes.items():
        arguments[name] = value.replace("MODEL", str(tiny_onnx)).replace("BAG", str(bag))
    positional = arguments.pop("BAG")
    argv = ["evaluate_bag", positional, *(word for pair in arguments.items() for word in pair)]
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_results_are_replaced_only_when_asked(
    tiny_onnx: Path, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate_bag", str(bag), "--model", str(tiny_onnx), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--min-confidence", "1"]) == 0
    assert results(tmp_path / "out")["models"][0]["label_shares"]["unknown"] > 0.9


def test_the_guide_names_options_and_keys_that_exist(
    tiny_onnx: Path, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (ROOT / "docs" / "evaluate_a_bag.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["evaluate_bag", "--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) | {"--ros-args", "--src", "--dst"}
    assert set(re.findall(r"(?<![|-])--[a-z][a-z-]+", guide)) <= known
    content = evaluate(bag, tiny_onnx, tmp_path / "out", "--write-bag", "none")
    keys = re.findall(r"^\| ((?:`[a-z_]+(?:\[\])?`(?:, )?)+) \|", guide.partition("## metrics.json")[2], re.MULTILINE)
    named = {key for row in keys for key in re.findall(r"[a-z_]+", row)}
    assert named - {"agreement"} == set(content) - {"format", "version"}


def test_frames_without_numbers_are_refused_by_name_and_not_counted(
    bags, blind_onnx: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    pictures = bags.frames(COUNT)
    pictures[1] = np.zeros_like(pictures[1])
    bag = bags.write(tmp_path / "bag", pictures, bags.labels(COUNT))
    content = evaluate(bag, blind_onnx, tmp_path / "out", "--compare", str(tiny_onnx))
    assert (content["frames_labelled"], content["frames_refused"]) == (COUNT - 1, 1)
    assert content["frames"][1]["refused"].startswith(
        "blind: the network gave no labels for this picture: stride_logits"
    )
    truths = np.stack([truth for index, truth in enumerate(bags.labels(COUNT)) if index != 1])
    for model in content["models"]:
        counted = np.sum(model["scores"]["confusion_matrix"]["pixels"])
        assert counted == np.count_nonzero(truths != 255)


def test_a_network_without_any_number_is_one_line(bags, blind_onnx: Path, tmp_path: Path, capsys) -> None:
    bag = bags.write(tmp_path / "bag", [np.zeros_like(one) for one in bags.frames(2)], bags.labels(2))
    arguments = ["evaluate_bag", str(bag), "--model", str(blind_onnx), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "could be labelled: blind: the network gave no labels for this picture" in said


def linear(rgb: np.ndarray) -> np.ndarray:
    """12-bit samples in proportion to light."""
    share = rgb / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.rint(light * 4095).astype(np.uint16)


@pytest.mark.parametrize("encoding", ["rgb16", "bgr16"])
def test_a_bag_of_16_bits_scores_as_the_same_bag_of_8(bags, tiny_onnx: Path, tmp_path: Path, encoding: str) -> None:
    pictures, truths = bags.frames(COUNT), bags.labels(COUNT)
    plain = evaluate(bags.write(tmp_path / "plain", pictures, truths), tiny_onnx, tmp_path / "a")
    with bags.record(tmp_path / "deep") as writer:
        recorder = bags.Recorder(writer)
        for index, picture in enumerate(pictures):
            samples = linear(picture)[:, :, :: -1 if encoding == "bgr16" else 1]
            recorder.image("/camera/image", index, samples, encoding=encoding)
            recorder.image("/ground_truth/label", index, truths[index])
    deep = evaluate(tmp_path / "deep", tiny_onnx, tmp_path / "b", "--bit-depth", "12")
    assert [frame["models"] for frame in deep["frames"]] == [frame["models"] for frame in plain["frames"]]
    assert deep["models"] == plain["models"]
    assert any(note == "/camera/image: 12 bits (given), tone gamma" for note in deep["bag"]["notes"])
    other = evaluate(tmp_path / "deep", tiny_onnx, tmp_path / "c", "--tone", "linear", "--write-bag", "none")
    assert [frame["brightness"] for frame in other["frames"]] < [frame["brightness"] for frame in deep["frames"]]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--bit-depth", "8", "bit_depth: got 8, expected 9 to 16 bits"), ("--tone", "filmic", "tone: got"),
     ("--bit-depth", "17", "bit_depth: ")],
)  # fmt: skip
def test_wrong_tones_and_depths_are_named(
    bag: Path, tiny_onnx: Path, tmp_path: Path, capsys, option: str, value: str, said: str
) -> None:
    assert main(["evaluate_bag", str(bag), "--model", str(tiny_onnx), "--out", str(tmp_path / "o"), option, value]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
