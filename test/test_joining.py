"""What somebody meets who joins, cites or packages: hooks, CI, citation and manifest say what the project does."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from dannet_core import __version__

ROOT = Path(__file__).parents[1]
# The order of REP 149's schema; dependencies of all kinds may be mixed.
FIRST = ["name", "version", "description", "maintainer", "license", "url", "author"]
DEPENDENCIES = {"exec_depend", "test_depend", "depend", "build_depend", "buildtool_depend", "doc_depend"}


@pytest.fixture(scope="module")
def manifest() -> ET.Element:
    return ET.fromstring((ROOT / "package.xml").read_text(encoding="utf-8"))  # noqa: S314 - our own file


def read_yaml(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_hooks_are_the_tools_of_make_lint() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipes = re.findall(r"^(?:lint|types):.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    linted = {line.strip() for recipe in recipes for line in recipe.splitlines()}
    tools = {re.sub(r"^\$\(BIN\)/([\w-]+( check| format)?).*", r"\1", line) for line in linted}
    hooks = [hook for repo in read_yaml(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert {re.sub(r"^\.venv/bin/([\w-]+( check| format)?).*", r"\1", hook["entry"]) for hook in hooks} == tools
    assert tools == {"ruff check", "ruff format", "mypy", "lint-imports", "hadolint"}
    assert {hook["language"] for hook in hooks} == {"system"}


def test_the_workflow_calls_the_script_that_ci_is() -> None:
    (job,) = read_yaml(".github/workflows/ci.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    assert (ROOT / ".ci/run").is_file()


def test_the_citation_is_of_this_version_and_of_the_paper() -> None:
    citation = read_yaml("CITATION.cff")
    assert (citation["cff-version"], citation["version"], citation["license"]) == ("1.2.0", __version__, "Apache-2.0")
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Wu", "Wu", "Guo", "Ju", "Wang"]
    assert (paper["year"], paper["url"]) == (2021, "https://arxiv.org/abs/2104.10834")
    assert paper["title"] in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def test_the_manifest_keeps_the_rules_of_format_3(manifest: ET.Element) -> None:
    tags = [child.tag for child in manifest]
    assert manifest.attrib == {"format": "3"}
    assert [tag for tag in tags if tag in FIRST] == FIRST
    assert tags[: len(FIRST)] == FIRST
    assert tags[-1] == "export"
    assert set(tags[len(FIRST) : -1]) <= DEPENDENCIES
    named = [(child.tag, child.text) for child in manifest if child.tag in DEPENDENCIES]
    assert len(named) == len(set(named))
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest.findtext("version") or "")
    license_file = manifest.find("license").attrib["file"]
    assert "Apache License" in (ROOT / license_file).read_text(encoding="utf-8")


def test_the_names_keep_the_rules_of_rep_144(manifest: ET.Element) -> None:
    names = {path.name for path in (ROOT / "resource").iterdir() if path.is_file()}
    assert manifest.findtext("name") in names
    for name in names:
        assert re.fullmatch(r"[a-z](_?[a-z0-9]+)+", name)


def test_catkin_pkg_has_nothing_to_say_about_the_manifest() -> None:
    package = pytest.importorskip("catkin_pkg.package", reason="catkin_pkg is needed: pip install catkin_pkg")
    warnings: list[str] = []
    parsed = package.parse_package(str(ROOT / "package.xml"), warnings=warnings)
    parsed.validate(warnings=warnings)
    assert warnings == []
    assert (parsed.name, parsed.version) == ("dannet_ros", __version__)
