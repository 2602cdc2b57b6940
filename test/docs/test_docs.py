"""The documents say what the code does, and what they name exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_reference_is_current() -> None:
    pytest.importorskip("dannet_ros.parameters", reason="needs rclpy: pip install '.[ros]'")
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert page("topics_and_parameters.md") == module.reference(), "run python docs/make_reference.py"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_into_a_page_lead_to_a_heading(path: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", path.read_text(encoding="utf-8")):
        headings = re.findall(r"^#+ (.+)$", (path.parent / target if target else path).read_text("utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in slugs, f"{target}#{anchor}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_files_named_in_backticks_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:dannet_core|dannet_ros|config|launch|bench|docs|examples|test)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_parameters_given_in_commands_exist(path: Path) -> None:
    parameters = pytest.importorskip("dannet_ros.parameters", reason="needs rclpy: pip install '.[ros]'")
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"-p (\w+):=", text) + re.findall(r"ros2 param \w+ \S*night_seg (\w+)", text):
        assert name in (*parameters.specs(), parameters.CLASS_NAMES_PARAMETER, "use_sim_time"), name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_launch_arguments_given_in_commands_exist(path: Path) -> None:
    for file, rest in re.findall(r"ros2 launch dannet_ros (\S+)((?:[^\n`]|\\\n)*)", path.read_text(encoding="utf-8")):
        source = (ROOT / "launch" / file).read_text(encoding="utf-8")
        for argument in re.findall(r"(\w+):=", rest):
            assert f'"{argument}"' in source, f"{file} {argument}"
