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


def test_its_commands_name_verbs_and_files_that_exist(repository):
    commands = re.findall(r"^    (\S.*)$", README, re.MULTILINE)
    assert len(commands) > 8
    assert {word for line in commands for word in re.findall(r"^dannet (\w+)", line)} <= set(VERBS)
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    for line in commands:
        for path in re.findall(r"(?<![\w/])(?:config|launch|docs|examples)/[\w/.]+", line):
            assert (repository / path).is_file(), path
        for target in re.findall(r"^make (\w+)", line):
            assert f"\n{target}: " in makefile, target
        for name in re.findall(r"(\w+)\.launch\.py", line):
            assert (repository / f"launch/{name}.launch.py").is_file(), name


def test_a_visitors_questions_come_in_their_order():
    assert re.findall(r"^## (.+)$", README, re.MULTILINE)[:5] == [
        "Three minutes to your own labels", "In the vehicle", "Training", "Figures", "Limits",
    ]  # fmt: skip
    assert "docs/images/demo.webp" in README.split("\n## ")[0]
    assert len(README.split()) < 950
