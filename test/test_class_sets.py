"""Class sets of 2 and of 30 through the whole sequence on the toy city: train, evaluate, export, predict, bag, node."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from dannet_core import NightSegmenter
from dannet_core.class_set import CITYSCAPES, ClassSet, read_class_set
from dannet_core.classes import LABEL_ID_TO_TRAIN_ID
from dannet_core.cli.main import main
from dannet_core.data.registry import open_data_set
from dannet_core.errors import SettingsError

pytest.importorskip("torch", reason="training needs it: pip install 'dannet_ros[train]'")
pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[1]
SIZE = (96, 160)
SMALL = [
    "--model.arch", "lraspp", "--model.discriminator_width", 8, "--crop.source", 64, 64, "--crop.source_scales", 1, 1,
    "--crop.target", 64, 64, "--crop.target_scales", 1, 1, "--optimiser.steps", 2, "--optimiser.batch_size", 2,
    "--data.workers", 0, "--no-watch.tensorboard", "--device", "cpu",
]  # fmt: skip


def dannet(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    dannet("toy_city", "--out", root, "--size", *SIZE, "--source", 4, "--pairs", 2, "--validation", 2)
    return root


def thirty(folder: Path) -> Path:
    """The 19 classes in another order, some of them static, and 11 that never occur."""
    known = [
        {"name": name, "ids": [label_id], "color": [index, 200, 7], "static": index % 2 == 0}
        for index, (name, label_id) in enumerate(zip(CITYSCAPES.names, LABEL_ID_TO_TRAIN_ID, strict=True))
    ]
    others = [{"name": f"nothing {index}", "ids": [100 + index], "static": True} for index in range(11)]
    content = {"name": "thirty", "classes": others + known[::-1], "ignore": list(CITYSCAPES.ignored_ids)}
    path = folder / "thirty.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module", params=["drivable", "thirty"])
def trained(request: pytest.FixtureRequest, toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Class set and exported model, after two steps of each training."""
    folder = tmp_path_factory.mktemp(request.param)
    classes = REPOSITORY / "config/classes/drivable.yaml" if request.param == "drivable" else thirty(folder)
    data = ["--data.source", toy / "cityscapes", "--data.target", toy / "dark_zurich", "--data.classes", classes]
    before, run = folder / "before", folder / "run"
    dannet("pretrain", *data, "--run_dir", before, *SMALL)
    init = ["--init", before / "last.safetensors", "--model.relighting_width", 4]
    dannet("train", *data, *init, "--run_dir", run, "--watch.validation", "dark-zurich", *SMALL)
    model = folder / "model.onnx"
    dannet("export", "--model", run / "last.safetensors", "--out", model, "--input-size", *SIZE)
    return classes, model


def labelled_pixels(toy: Path, classes: ClassSet) -> np.ndarray:
    labels = [sample.read_labels() for sample in open_data_set("dark-zurich", toy / "dark_zurich", classes=classes)]
    return np.bincount(np.concatenate(labels, axis=None), minlength=256)


def test_the_model_says_its_classes_and_evaluates_on_them(trained, toy, tmp_path):
    path, model = trained
    classes = read_class_set(path)
    with NightSegmenter.load(model) as segmenter:
        assert segmenter.metadata.classes.names == classes.names
        assert segmenter.metadata.classes.static == classes.static
        assert any(key == "dark_zurich_miou_present" for key in segmenter.metadata.metrics)
    labels = ["--dataset", "dark-zurich", "--root", toy / "dark_zurich"]
    dannet("evaluate", "--model", model, *labels, "--out", tmp_path / "a", "--std-sweep")
    dannet("evaluate", "--model", model, *labels, "--out", tmp_path / "b", "--classes", path)
    first, second = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in "ab")
    assert list(first["iou"]) == list(classes.names)
    assert first["iou"] == second["iou"]
    assert f"miou_{len(classes)}" in first
    assert "miou_19" not in first
    pixels = labelled_pixels(toy, classes)
    assert list(first["labelled_pixels"].values()) == pixels[: len(classes)].tolist()
    assert pixels[len(classes) : 255].sum() == 0
    table = (tmp_path / "a" / "report.md").read_text()
    assert f"mean over all {len(classes)} (absent = 0)" in table


def test_data_and_models_of_other_classes_are_refused_by_name(trained, toy, tmp_path, capsys):
    path, model = trained
    classes = read_class_set(path)
    other = tmp_path / "other.yaml"
    other.write_text("classes: [day, night]")
    data_set = ["--dataset", "dark-zurich", "--root", str(toy / "dark_zurich"), "--out", str(tmp_path / "out")]
    assert main(["evaluate", "--model", str(model), *data_set, "--classes", str(other)]) == 2
    said = capsys.readouterr().err
    assert "id 2" in said or (f"the {len(classes)} classes of {classes.name}" in said and "other (day, night)" in said)
    start = [
        "train", "--data.source", toy / "cityscapes", "--data.target", toy / "dark_zurich", "--init",
        model.parent / "run" / "last.safetensors", "--run_dir", tmp_path / "run", *SMALL,
    ]  # fmt: skip
    assert main([str(one) for one in start]) == 2
    assert f"the model has the {len(classes)} classes of {classes.name}" in capsys.readouterr().err


def test_a_run_is_not_resumed_with_other_classes(trained, toy, capsys):
    path, model = trained
    resumed = [
        "pretrain", "--data.source", toy / "cityscapes", "--run_dir", model.parent / "before", "--resume",
        "--data.classes", model.parent / "changed.yaml", *SMALL,
    ]  # fmt: skip
    content = yaml.safe_load(path.read_text())
    content["classes"][0]["name"] = "renamed"
    (model.parent / "changed.yaml").write_text(yaml.safe_dump(content))
    assert main([str(one) for one in resumed]) == 2
    assert "data.source: not the data of the run to resume" in capsys.readouterr().err


def test_colours_of_pictures_legend_and_report_are_the_sets(trained, toy, tmp_path):
    path, model = trained
    classes = read_class_set(path)
    sample = open_data_set("dark-zurich", toy / "dark_zurich")[0]
    dannet("predict", sample.image_path, "--model", model, "--out", tmp_path)
    labels = cv2.imread(str(next(tmp_path.glob("*_label.png"))), cv2.IMREAD_UNCHANGED)
    colours = cv2.cvtColor(cv2.imread(str(next(tmp_path.glob("*_color.png")))), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(colours, np.array(classes.colors, np.uint8)[labels])


def test_a_bag_with_labels_of_the_set_is_scored_and_reported(trained, toy, tmp_path):
    pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
    from dannet_ros.replay.__main__ import main as replay

    path, model = trained
    classes = read_class_set(path)
    frames, labels = tmp_path / "frames", tmp_path / "labels"
    for folder in (frames, labels):
        folder.mkdir()
    for index, sample in enumerate(open_data_set("dark-zurich", toy / "dark_zurich", classes=classes)):
        cv2.imwrite(str(frames / f"{index}.png"), cv2.cvtColor(sample.read_image(), cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(labels / f"{index}.png"), sample.read_labels())
    bag = tmp_path / "bag"
    assert replay(["make_bag", str(frames), "--out", str(bag), "--fps", "10", "--labels", str(labels)]) == 0
    out = tmp_path / "out"
    assert replay(["evaluate_bag", str(bag), "--model", str(model), "--out", str(out)]) == 0
    content = json.loads((out / "metrics.json").read_text())
    scores = content["models"][0]["scores"]
    assert list(scores["iou"]) == list(classes.names)
    assert list(scores["labelled_pixels"].values()) == labelled_pixels(toy, classes)[: len(classes)].tolist()
    page = next(out.glob("*.html")).read_text()
    assert all(f"rgb{colour}" in page for colour in classes.colors)
    assert classes.names[0] in page
    cityscapes = REPOSITORY / "dannet_core/models/demo.onnx"
    compared = [
        "evaluate_bag",
        str(bag),
        "--model",
        str(model),
        "--compare",
        str(cityscapes),
        "--out",
        str(tmp_path / "c"),
    ]
    assert replay(compared) == 2


@pytest.mark.ros
def test_the_node_publishes_its_names_legend_and_colours(trained, toy):
    rclpy = pytest.importorskip("rclpy", reason="rclpy (ROS 2) is needed to run the node")
    path, model = trained
    mine = not rclpy.ok()
    if mine:
        rclpy.init()
    try:
        check_node(read_class_set(path), model, open_data_set("dark-zurich", toy / "dark_zurich")[0].read_image())
    finally:
        if mine:
            rclpy.try_shutdown()


def check_node(classes: ClassSet, model: Path, picture: np.ndarray) -> None:
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    from dannet_ros.conversions import to_image, to_rgb
    from dannet_ros.legend import legend
    from dannet_ros.lifecycle_node import NightSegNode

    quick = {"model": str(model), "warm_up_height": 0, "warm_up_width": 0}
    node = NightSegNode(
        parameter_overrides=[Parameter(name, value=value) for name, value in quick.items()],
        cli_args=["--ros-args", "-r", "__node:=class_sets"],
    )
    listener = rclpy.create_node("class_sets_listener")
    came: dict[str, list[Any]] = defaultdict(list)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    for topic, qos in (("label", 10), ("color", 10), ("legend", latched)):
        listener.create_subscription(Image, f"class_sets/{topic}", came[topic].append, qos)
    executor = SingleThreadedExecutor()
    for one in (node, listener):
        executor.add_node(one)
    try:
        assert node.autostart(), node.failure
        assert node.get_parameter("class_names").value == list(classes.names)
        assert node.describe_parameter("class_names").read_only
        deadline = time.monotonic() + 120
        while not all(came.values()) and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.05)
            if node._session.publishers.wanted() == {"label", "color"} and node.counts["received"] == 0:
                node._on_image(to_image(picture, "rgb8", Header()))
        np.testing.assert_array_equal(to_rgb(came["legend"][0]), legend(classes))
        labels = to_rgb(came["label"][0])[..., 0]
        np.testing.assert_array_equal(to_rgb(came["color"][0]), classes.colormap[labels])
    finally:
        node.stop()
        executor.shutdown()
        node.destroy_node()
        listener.destroy_node()


def test_a_class_set_of_one_is_refused(tmp_path):
    (tmp_path / "one.yaml").write_text("classes: [all]")
    with pytest.raises(SettingsError, match="got 1 classes, expected 2 to 255"):
        read_class_set(tmp_path / "one.yaml")
