from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from dannet_core.errors import SettingsError
from dannet_core.settings import option, parse, to_plain


@dataclass(frozen=True)
class Inner:
    rate: float = option("learning rate", 0.1, limits=(0, 1))


@dataclass(frozen=True)
class Outer:
    inputs: list[Path] = option("files", positional=True)
    model: Path = option("a model")
    input_size: tuple[int, int] | None = option("height and width in pixels", None)
    mode: str = option("how", "fast", choices=("fast", "slow"))
    count: int = option("how many", 3)
    quiet: bool = option("say nothing", False)
    inner: Inner = field(default_factory=Inner)


def read(*argv: str) -> Outer:
    return parse(Outer, argv, "tool", "Does things.")


def test_reads_flags_lists_sizes_and_nested_names():
    got = read("a.png", "b.png", "--model", "m.onnx", "--input-size", "540", "960", "--quiet", "--inner.rate", "0.5")
    expected = Outer([Path("a.png"), Path("b.png")], Path("m.onnx"), (540, 960), quiet=True, inner=Inner(0.5))
    assert got == expected


def test_takes_underscores_and_equals_signs_in_flags():
    assert read("a", "--model=m_n.onnx", "--input_size", "64", "64").model == Path("m_n.onnx")


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(
        "model: x.onnx\ncount: 7\nmode: slow\ninputs: [z.png]\ninner: {rate: 0.25}\ninput_size: [64, 128]\n"
    )
    got = read("--config", str(config), "--count", "9")
    assert (got.model, got.count, got.mode) == (Path("x.onnx"), 9, "slow")
    assert (got.inputs, got.inner.rate, got.input_size) == ([Path("z.png")], 0.25, (64, 128))


def test_a_later_file_wins_over_an_earlier_one(tmp_path):
    (tmp_path / "a.yaml").write_text("model: a.onnx\ncount: 1\ninputs: [z.png]\n")
    (tmp_path / "b.yaml").write_text("count: 2\n")
    got = read("--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml"))
    assert (got.model, got.count) == (Path("a.onnx"), 2)


def test_help_shows_units_defaults_and_choices(capsys):
    with pytest.raises(SystemExit) as stop:
        read("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0
    for words in ("height and width in pixels", "[default: 3]", "(fast, slow)", "[required]", "(0 to 1)", "--config"):
        assert words in text


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("a", "--modell", "m"), r"unknown argument '--modell': did you mean '--model'\?"),
        (("a",), "--model is required"),
        (("--model", "m"), "INPUTS is required"),
        (("a", "--model", "m", "--count", "many"), "count: got 'many', expected a whole number"),
        (("a", "--model", "m", "--count", "1.5"), "count: got '1.5', expected a whole number"),
        (("a", "--model", "m", "--mode", "odd"), "mode: got 'odd', expected one of fast, slow"),
        (("a", "--model", "m", "--inner.rate", "2"), "inner.rate: got 2.0, expected 0 to 1"),
        (("a", "--model", "m", "--inner.rate", "nan"), "inner.rate: got 'nan', expected a number"),
        (("a", "--model", "m", "--input-size", "5"), "expected 2 arguments"),
        (("a", "--model", "m", "--config", "absent.yaml"), r"absent\.yaml: cannot read"),
    ],
)
def test_mistakes_on_the_command_line_are_named(argv, said):
    with pytest.raises(SettingsError, match=said) as error:
        read(*argv)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modell: x", r"unknown key 'modell': did you mean 'model'\?"),
        ("inner: {rat: 1}", r"unknown key 'inner.rat': did you mean 'inner.rate'\?"),
        ("inner: 3", "unknown key 'inner'"),
        ("model: m\ncount: true", "count: got True, expected a whole number"),
        ("model: m\nquiet: 1", "quiet: got 1, expected true or false"),
        ("model: m\ninput_size: 540", "input_size: got 540, expected 2 values"),
        ("model: m\ncount: null", "count: got nothing"),
        ("- a\n- b", "got list, expected a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path, text, said):
    config = tmp_path / "c.yaml"
    config.write_text(text)
    with pytest.raises(SettingsError, match=said) as error:
        read("a.png", "--config", str(config))
    assert "\n" not in str(error.value)


@dataclass(frozen=True)
class WithPreset:
    preset: str = option("start from", "plain", choices=("plain", "strong"))
    count: int = option("how many", 1)
    inner: Inner = field(default_factory=Inner)


def test_a_preset_is_weaker_than_the_file_and_the_command_line(tmp_path):
    presets = {"plain": {}, "strong": {"count": 5, "inner.rate": 0.9}}
    config = tmp_path / "c.yaml"
    config.write_text("preset: strong\ninner: {rate: 0.5}\n")

    def read_preset(*argv: str) -> WithPreset:
        return parse(WithPreset, argv, "tool", "", presets)

    assert read_preset() == WithPreset()
    assert read_preset("--preset", "strong") == WithPreset("strong", 5, Inner(0.9))
    assert read_preset("--config", str(config)) == WithPreset("strong", 5, Inner(0.5))
    assert read_preset("--config", str(config), "--count", "2") == WithPreset("strong", 2, Inner(0.5))
    with pytest.raises(SettingsError, match="preset: got 'weak', expected one of plain, strong"):
        read_preset("--preset", "weak")


def test_what_to_plain_writes_reads_back_as_the_same(tmp_path):
    settings = read("a.png", "--model", "m.onnx", "--input-size", "540", "960", "--quiet", "--inner.rate", "0.5")
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(to_plain(settings)))
    assert read("--config", str(config)) == settings
