"""What `--print-config` prints reads back as the same settings; `--print-schema` judges files as `--config` does."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from dannet_core.cli.main import VERBS, main
from dannet_core.errors import SettingsError
from dannet_core.settings import option, parse
from dannet_ros.replay.__main__ import VERBS as BAG_VERBS
from dannet_ros.replay.__main__ import main as replay

CONFIGS = sorted((Path(__file__).parents[3] / "config" / "train").rglob("*.yaml"))


@dataclass(frozen=True)
class Inner:
    rate: float = option("learning rate", 0.1, limits=(0, 1))
    root: Path | None = option("folder", None)


@dataclass(frozen=True)
class Outer:
    source: Path = option("what is read", positional=True)
    model: Path = option("a model")
    preset: str = option("start from", "plain", choices=("plain", "strong"))
    input_size: tuple[int, int] | None = option("height and width in pixels", None)
    names: list[str] = option("of the cameras", ["front"])
    title: str = option("of the report", "night")
    quiet: bool = option("say nothing", False)
    inner: Inner = field(default_factory=Inner)


PRESETS = {"plain": {}, "strong": {"inner.rate": 0.9, "input_size": (64, 96)}}


def read(*argv: str) -> Outer:
    return parse(Outer, argv, "tool", "Does things.", PRESETS)


def shown(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as stop:
        read(*argv)
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ["in", "--model", "m.onnx"],
        ["in", "--model", "m.onnx", "--preset", "strong", "--quiet", "--names", "left", "right"],
        ["in", "--model", "1e3", "--title", "yes: # no, [x]", "--inner.root", "a b/ü", "--inner.rate", "1e-05"],
    ],
)
def test_what_is_printed_reads_back_as_the_same(tmp_path, capsys, argv):
    (tmp_path / "c.yaml").write_text(shown(capsys, *argv, "--print-config"), encoding="utf-8")
    assert read("--config", str(tmp_path / "c.yaml")) == read(*argv)


@given(st.text(st.characters(exclude_categories=("Cs",))))
@example("null")
@example("first\nsecond: 3")
@example("\x85")
def test_any_text_reads_back_as_the_same(text: str) -> None:
    from dannet_core.settings.keys import keys_of
    from dannet_core.settings.showing import as_yaml

    printed = as_yaml(keys_of(Outer), {"title": text, "names": [text, "x"]}, {}, "tool")
    loaded = yaml.safe_load(printed)
    assert (loaded["title"], loaded["names"]) == (text, [text, "x"])


def test_every_line_says_what_it_is_and_who_set_it(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("preset: strong\ntitle: a\nquiet: true\n")
    (tmp_path / "b.yaml").write_text("title: b\n")
    files = ["--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml")]
    lines = shown(capsys, *files, "--model", "m.onnx", "--print-config").splitlines()
    above = {line.strip(): before.strip() for before, line in itertools.pairwise(lines)}
    assert above["quiet: true"] == f"# say nothing [{tmp_path / 'a.yaml'}]"
    assert above["title: b"] == f"# of the report [{tmp_path / 'b.yaml'}]"
    assert above["model: m.onnx"] == "# a model [command line]"
    assert above["rate: 0.9"] == "# learning rate (0 to 1) [preset strong]"
    assert above["input_size: [64, 96]"] == "# height and width in pixels [preset strong]"
    assert above["names: [front]"] == "# of the cameras"


def test_what_is_required_and_not_given_is_left_to_fill_in(tmp_path, capsys):
    printed = shown(capsys, "--print_config")
    assert "# model:  required" in printed
    assert "# source:  required" in printed
    (tmp_path / "c.yaml").write_text(printed)
    assert read("in", "--config", str(tmp_path / "c.yaml"), "--model", "m") == read("in", "--model", "m")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--inner.rate", "2"], "inner.rate: got 2.0, expected 0 to 1"),
        (["--preset", "weak"], "preset: got 'weak', expected one of plain, strong"),
        (["--print-confi"], r"unknown argument '--print-confi': did you mean '--print-config'\?"),
        (["--config", "absent.yaml"], r"absent\.yaml: cannot read"),
    ],
)
def test_a_mistake_is_one_all_the_same(argv, said):
    with pytest.raises(SettingsError, match=said):
        read(*argv, "--print-config")


def test_a_single_word_without_a_flag_is_required_from_the_line_or_a_file(tmp_path):
    with pytest.raises(SettingsError, match=r"^SOURCE is required: what is read$"):
        read("--model", "m")
    (tmp_path / "c.yaml").write_text("source: in\n")
    assert read("--model", "m", "--config", str(tmp_path / "c.yaml")).source == Path("in")
    assert read("out", "--model", "m", "--config", str(tmp_path / "c.yaml")).source == Path("out")


def test_a_group_whose_lines_are_all_commented_out_has_its_defaults(tmp_path):
    (tmp_path / "c.yaml").write_text("inner:\n  # rate: 0.5\n")
    assert read("in", "--model", "m", "--config", str(tmp_path / "c.yaml")).inner == Inner()


def of_verb(capsys: pytest.CaptureFixture[str], *argv: str, program: Callable[[Sequence[str]], int] = main) -> str:
    with pytest.raises(SystemExit) as stop:
        program(argv)
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("program", "verb"), [(main, verb) for verb in VERBS] + [(replay, verb) for verb in BAG_VERBS])
def test_every_verb_prints_a_file_that_it_reads_and_its_schema_allows(program, verb, tmp_path, capsys):
    first = of_verb(capsys, verb, "--print-config", program=program)
    (tmp_path / "c.yaml").write_text(first)
    again = of_verb(capsys, verb, "--config", str(tmp_path / "c.yaml"), "--print-config", program=program)
    assert yaml.safe_load(again) == yaml.safe_load(first)
    schema = json.loads(of_verb(capsys, verb, "--print-schema", program=program))
    assert leaves(yaml.safe_load(first)) <= {name for name, one in properties(schema) if "description" in one}
    assert mistakes(schema, yaml.safe_load(first)) == []


def leaves(content: dict[str, Any], prefix: str = "") -> set[str]:
    inner = {name: value for name, value in content.items() if isinstance(value, dict)}
    found = {prefix + name for name in content.keys() - inner.keys()}
    return found.union(*(leaves(value, f"{prefix}{name}.") for name, value in inner.items()))


def properties(schema: dict[str, Any], prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name, one in schema["properties"].items():
        found += properties(one, f"{prefix}{name}.") if "properties" in one else [(prefix + name, one)]
    return found


def mistakes(schema: dict[str, Any], content: Any) -> list[str]:
    validator = pytest.importorskip("fastjsonschema", reason="pip install fastjsonschema")
    try:
        validator.compile(schema)(content)
    except validator.JsonSchemaValueException as error:
        return [error.message]
    return []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_of_the_project_fits_the_schema(path, capsys):
    verb = "pretrain" if "pretrain" in path.name else "train"
    schema = json.loads(of_verb(capsys, verb, "--print-schema"))
    assert mistakes(schema, yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("model: m", True),
        ("{}", True),
        ("modell: m", False),
        ("input_size: [64, 96]", True),
        ("input_size: null", True),
        ("input_size: none", True),
        ("input_size: 64", False),
        ("input_size: [64]", False),
        ("names: [a, 3]", True),
        ("names: a", False),
        ("preset: strong", True),
        ("preset: weak", False),
        ("quiet: 1", False),
        ("title: null", False),
        ("title: 3", True),
        ("title: [a]", False),
        ("title: true", False),
        ("inner: {rate: 1}", True),
        ("inner: {rate: 1.5}", False),
        ("inner: {rate: fast}", False),
        ("inner: {root: true}", False),
        ("inner: {rat: 1}", False),
        ("inner:", True),
        ("inner: 3", False),
    ],
)
def test_the_schema_judges_as_the_reader_does(tmp_path, capsys, text, good):
    (tmp_path / "c.yaml").write_text(text)
    schema = json.loads(shown(capsys, "--print-schema"))
    assert (mistakes(schema, yaml.safe_load(text)) == []) is good
    if good:
        shown(capsys, "--config", str(tmp_path / "c.yaml"), "--print-config")
        return
    with pytest.raises(SettingsError) as error:
        read("in", "--model", "m", "--config", str(tmp_path / "c.yaml"))
    assert "\n" not in str(error.value)
