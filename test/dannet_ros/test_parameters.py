from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dannet_core import preset
from dannet_core.errors import SettingsError
from dannet_ros.parameters import NodeParameters, describe_all, descriptor, specs, unknown_parameter

PARAMS_FILE = Path(__file__).parents[2] / "config" / "night_seg.param.yaml"


def test_params_file_holds_every_parameter_with_its_default() -> None:
    content = yaml.safe_load(PARAMS_FILE.read_text())
    assert list(content) == ["/**"]
    values = content["/**"]["ros__parameters"]
    assert NodeParameters(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}) == NodeParameters()
    assert set(values) == set(specs())
    types = [list if isinstance(spec.default, tuple) else type(spec.default) for spec in specs().values()]
    assert [type(values[name]) for name in specs()] == types


def test_every_default_is_accepted_and_described() -> None:
    for spec in specs().values():
        assert spec.problem(spec.default) is None
        assert spec.description
        assert spec.name in describe_all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", -1), ("threads", 1.0), ("threads", True), ("threads", "2"), ("input_depth", 0),
        ("autostart", 1), ("min_confidence", 1), ("min_confidence", float("nan")), ("overlay_alpha", float("inf")),
        ("outputs", []), ("outputs", "label"), ("outputs", ["label", "label"]), ("outputs", ["labels"]),
        ("preset", "Paper"), ("image_transport", ""), ("model", None), ("model", ["a.onnx"]),
    ],
)  # fmt: skip
def test_wrong_types_and_ranges_are_named(name: str, value: object) -> None:
    problem = specs()[name].problem(value)
    assert problem is not None
    assert problem.startswith(f"parameter {name}: got {value!r}, expected ")


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("overlay_alpha", 1, ": write 1.0"), ("max_age_ms", 150, ": write 150.0"), ("input_depth", 2.0, ": write 2"),
        ("autostart", "true", ": write true without quotes"), ("outputs", "label", ": write [label]"),
        ("outputs", "label,overlay", ": write [label, overlay]"),
        ("model", 20240501, ": write \"'20240501'\" with both kinds of quotes, which make it a string"),
        ("input_depth", 2.5, ", 1 to 100"), ("overlay_alpha", True, ", 0 to 1"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_gets_the_way_to_write_it(name: str, value: object, instead: str) -> None:
    assert (specs()[name].problem(value) or "").endswith(instead)


def test_a_url_is_no_path() -> None:
    problem = NodeParameters(model="file:///m/demo.onnx").problem()
    assert problem == "parameter model: got 'file:///m/demo.onnx', expected a path, not a URL: write /m/demo.onnx"


@pytest.mark.parametrize(
    ("unknown", "hint"),
    [
        ("modle", "did you mean model?"),
        ("overlay.alpha", "did you mean overlay_alpha?"),
        ("zzz", "another node's belongs under that node's name in a parameters file, not under /**; known are model, "),
    ],
)
def test_unknown_parameters_get_a_suggestion(unknown: str, hint: str) -> None:
    line = unknown_parameter(["use_sim_time", "model", unknown], ["use_sim_time"])
    assert line is not None
    assert f"parameter {unknown}: unknown: {hint}" in line


def test_known_and_qos_override_parameters_are_not_unknown() -> None:
    names = [*specs(), "use_sim_time", "qos_overrides./image.subscription.depth"]
    assert unknown_parameter(names, ["use_sim_time"]) is None


def test_settings_follow_the_preset_and_the_changes() -> None:
    official = NodeParameters(preset="official", min_confidence=0.4).inference_settings()
    assert official == preset("official", min_confidence=0.4)
    changed = NodeParameters(preset="official", reweight="none", input_height=128, input_width=256).inference_settings()
    assert (changed.reweight, changed.input_size) == ("none", (128, 256))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsError, match="reweight_std"):
        NodeParameters(reweight_std=2.0).inference_settings()


def test_descriptors_hold_the_ranges_and_what_is_read_only() -> None:
    pytest.importorskip("rcl_interfaces.msg", reason="needs rclpy: pip install '.[ros]'")
    described = {name: descriptor(spec) for name, spec in specs().items()}
    assert [name for name, message in described.items() if message.read_only] == ["autostart"]
    for name, spec in specs().items():
        message = described[name]
        ranges = [*message.integer_range, *message.floating_point_range]
        assert [(r.from_value, r.to_value) for r in ranges] == ([] if spec.low is None else [(spec.low, spec.high)])
        assert bool(message.integer_range) == (type(spec.default) is int), name
        assert [r.step for r in message.integer_range] == [1] * len(message.integer_range)
        waits = message.additional_constraints.endswith("; only while unconfigured")
        assert waits == (not spec.live and not message.read_only), name
