"""The README says what the code does: parameters, verbs and files it names exist."""

import re
from pathlib import Path

import pytest

from dannet_core.cli.main import VERBS

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_parameters_it_shows_are_those_of_the_node():
    parameters = pytest.importorskip("dannet_ros.parameters", reason="needs rclpy: pip install '.[ros]'")
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", README, re.MULTILINE))
    assert len(rows) > 3
    for name, default in rows.items():
        spec = parameters.specs()[name]
        shown = "required" if name == "model" else f"`{spec.default}`" if spec.default != "" else "empty"
        assert default == shown, name


def test_every_verb_it_shows_exists(repository):
    assert set(re.findall(r"`dannet (\w+)", README)) <= set(VERBS)
    for path in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (repository / path).exists(), path
