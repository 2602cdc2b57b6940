"""`bench/reproduction.py` on photographs: its rows, its record, its page, and a run on a tiny set."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install torch")
pytest.importorskip("timm", reason="the backbone is timm's: pip install timm")

from safetensors.torch import save_file  # noqa: E402 - after the skips

from dannet_core.data.toy_city import DataSetCounts, write_data_set  # noqa: E402
from dannet_core.evaluation.canvas import TEXT_HEIGHT  # noqa: E402
from dannet_core.metadata import ModelMetadata  # noqa: E402
from dannet_core.networks import build_dannet  # noqa: E402
from dannet_core.networks.weights import load_metadata, read_tensors, save_weights  # noqa: E402
from dannet_core.pixels import colorize, read_rgb  # noqa: E402
from dannet_core.settings import parse, to_plain  # noqa: E402
from dannet_core.training.config import PRESETS, TrainConfig  # noqa: E402

TINY = (
    "--optimiser.steps=1", "--device=cpu", "--data.workers=0", "--watch.checkpoint_every=1", "--beyond.statistics=1",
    "--crop.source", "64", "64", "--crop.target", "64", "64", "--model.discriminator_width=4",
)  # fmt: skip
SETTING = {"weights_sha256": "1", "data_sha256": "2", "train_arguments": []}


@pytest.fixture
def program(bench_program, monkeypatch):
    # Its parts are imported by name: those of this test are not left to the next one.
    for name in [name for name in sys.modules if name.startswith("reproduction_")]:
        monkeypatch.delitem(sys.modules, name)
    loaded = bench_program("reproduction")
    yield loaded
    for name in [name for name in sys.modules if name.startswith("reproduction_")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def photographs(program):
    return program.photographs


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A start and data for it: random weights, and toy pictures in the place of photographs."""
    folder = tmp_path_factory.mktemp("tiny")
    write_data_set(folder / "data", 3, (96, 128), DataSetCounts(train=3, val=1, pairs=2, night_val=1))
    torch.manual_seed(0)
    start = folder / "b0.safetensors"
    save_weights(
        build_dannet("efficientvit", backbone="b0", relighting_width=0),
        start,
        ModelMetadata("efficientvit", "b0", 0, align_corners=False, source="test"),
    )
    return argparse.Namespace(weights=start, data=folder / "data")


def configuration(photographs, row):
    file = next(file for file, rows in photographs.GROUPS.values() if row in rows)
    argv = ["--config", str(photographs.CONFIGS / file), *row.adaptation()]
    return to_plain(parse(TrainConfig, argv, "train", "", PRESETS))


def flat(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def changed(photographs, key, base):
    rows = {row.key: row for row in photographs.ROWS}
    row, reference = (dict(flat(configuration(photographs, rows[name]))) for name in (key, base))
    return {name: value for name, value in row.items() if value != reference[name]}


def test_every_row_changes_what_its_title_says_and_nothing_else(photographs):
    assert changed(photographs, "without_static", "full") == {"loss.static": 0.0}
    assert changed(photographs, "without_relighting", "full") == {
        "model.relighting_width": 0, "loss.light": 0.0, "loss.light_source": 0.0,
    }  # fmt: skip
    assert changed(photographs, "full_night_statistics", "full") == {"optimiser.target_statistics": 50}
    assert changed(photographs, "without_darkening", "beyond") == {"beyond.darkening": 0.0}
    assert changed(photographs, "without_mixing", "beyond") == {"beyond.mixing": 0.0, "beyond.one_batch": False}
    assert changed(photographs, "source_alone", "without_teacher") == {"beyond.darkening": 0.0}
    assert changed(photographs, "statistics_of_crops", "beyond") == {"beyond.statistics_of": "source"}
    assert changed(photographs, "with_masking", "beyond") == {"beyond.masking": 1.0}
    assert changed(photographs, "without_labels", "beyond") == {}
    trained = [row for row in photographs.ROWS if row.model_of is None and row.labelled and row.pretrained]
    configurations = [json.dumps(configuration(photographs, row), sort_keys=True) for row in trained]
    assert len(set(configurations)) == len(trained) == 22
    identities = [photographs.configuration(row) for row in photographs.ROWS]
    assert len(set(identities)) == len(identities)


def test_no_row_is_in_both_tables(photographs):
    keys = [row.key for row in photographs.ROWS]
    assert len(set(keys)) == len(keys)


def test_a_record_goes_on_row_by_row_and_what_it_holds_is_not_run_again(photographs, tmp_path):
    path = tmp_path / "record.json"
    rows = [row for row in photographs.ROWS if row.key in ("source_only", "full", "unweighted_prediction", "beyond")]
    record = photographs.Record(path, SETTING)
    first, second = photographs.jobs(rows, [4, 7], record)
    assert [(row.key, seed) for row, seed in first] == [
        ("source_only", 4), ("full", 4), ("beyond", 4), ("full", 7), ("beyond", 7),
    ]  # fmt: skip
    assert [(row.key, seed) for row, seed in second] == [("unweighted_prediction", 4), ("unweighted_prediction", 7)]
    for row, seed in first[:2]:
        record.add(row, seed, {"night": {"miou_percent": 20.0}})
    again = photographs.Record(path, SETTING)
    assert [(row.key, seed) for row, seed in photographs.jobs(rows, [4, 7], again)[0]] == [
        ("beyond", 4), ("full", 7), ("beyond", 7),
    ]  # fmt: skip
    kept = again.to_plain()["scores"]["full"]["4"]
    assert kept == {"night": {"miou_percent": 20.0}, "configuration": photographs.configuration(first[1][0])}


def test_a_row_that_is_configured_otherwise_by_now_is_run_again(photographs, tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    rows = {row.key: row for row in photographs.ROWS}
    record = photographs.Record(path, SETTING)
    for key in ("source_only", "full", "beyond"):
        record.add(rows[key], 0, {"night": {"miou_percent": 20.0}})
    monkeypatch.setitem(photographs.PRESETS["beyond"], "beyond.teacher", 0.9)
    again = photographs.Record(path, SETTING)
    assert [key for key in ("source_only", "full", "beyond") if again.has(rows[key], 0)] == ["source_only", "full"]


def test_scores_of_another_start_are_not_added_to(photographs, tmp_path):
    path = tmp_path / "record.json"
    photographs.Record(path, SETTING).add(photographs.ROWS[0], 0, {})
    with pytest.raises(RuntimeError, match=r"record.json: weights_sha256 is '1' there, '9' here: give another --json"):
        photographs.Record(path, SETTING | {"weights_sha256": "9"})
    path.write_text('{"rows": []}')
    with pytest.raises(RuntimeError, match="expected a record of this program"):
        photographs.Record(path, SETTING)


def test_the_same_tensors_are_the_same_start_whatever_else_the_file_says(photographs, tiny, tmp_path):
    def identity(weights):
        return photographs.Setting(weights, tiny.data, (64, 96)).to_plain()["weights_sha256"]

    state = read_tensors(tiny.weights)
    save_file(state, tmp_path / "other.safetensors", {"said": "otherwise"})
    assert identity(tmp_path / "other.safetensors") == identity(tiny.weights)
    name = next(iter(state))
    save_file(state | {name: state[name] + 1}, tmp_path / "other.safetensors")
    assert identity(tmp_path / "other.safetensors") != identity(tiny.weights)


def test_the_same_pictures_are_the_same_data_whatever_runs_leave_beside_them(photographs, tiny):
    def identity():
        return photographs.Setting(tiny.weights, tiny.data, (64, 96)).to_plain()["data_sha256"]

    before = identity()
    left = tiny.data / "cityscapes" / "counted.json"
    left.write_text("{}")
    assert identity() == before
    left.unlink()
    extra = tiny.data / "cityscapes" / "leftImg8bit" / "one_more.png"
    extra.write_bytes(b"x")
    assert identity() != before
    extra.unlink()


def scores(night, day):
    return {
        "night": {"miou_percent": night, "pixel_accuracy_percent": 70.0},
        "day": {"miou_percent": day, "pixel_accuracy_percent": 90.0},
    }


def test_the_page_compares_with_the_reference_and_names_what_was_not_run(program):
    record = {
        "setting": {"train_arguments": ["--optimiser.steps=5"]},
        "machines": [{"gpu": None, "cpus": 2, "torch": "2.0"}],
        "scores": {
            "full": {"0": scores(20, 50), "1": scores(22, 52)},
            "without_static": {"0": scores(18, 50), "1": scores(23, 50)},
            "without_light_loss": {"0": scores(19, 50)},
            "beyond": {"10": scores(44, 60), "2": scores(40, 62)},
        },
    }
    page = program.write_page.__globals__["photographs_section"](record)
    lines = {line.split(" | ")[0].strip("| "): line for line in page if line.startswith("| ")}
    assert lines["full DANNet"] == (
        "| full DANNet | 36.76 | 21.0 (20.0, 22.0) |  |  | 70.0 (70.0, 70.0) | 51.0 (50.0, 52.0) | 90.0 (90.0, 90.0) |"
    )
    assert " | 20.5 (18.0, 23.0) | -0.5 | on 1 of 2 seeds | " in lines["w/o L_static"]
    assert " | 19.0 | -1.0 | yes, on one seed | " in lines["w/o L_light"]
    assert lines["`beyond`"].startswith("| `beyond` |  | 42.0 (40.0, 44.0) |  |  | ")
    assert lines["w/o class mixing"] == "| w/o class mixing |  | not run | | | | | |"
    assert page[-1].startswith("Measured with torch 2.0, 2 CPU cores, every training with `--optimiser.steps=5`; ")
    assert program.write_page.__globals__["photographs_section"]({})[-1] == "None of these rows has been run yet."


def test_examples_of_the_page_are_predictions_alone(program, tiny, tmp_path):
    example = program.Example(tiny.data / "dark_zurich", {"start": tiny.weights}, input_size=(64, 96), count=2)
    program.draw_examples(example, tmp_path / "whole.png")
    (tmp_path / "images").mkdir()
    shown_path = tmp_path / "images" / program.PICTURE
    program.draw_examples(dataclasses.replace(example, predictions_alone=True), shown_path)
    whole, shown = read_rgb(tmp_path / "whole.png"), read_rgb(shown_path)
    height, width = shown.shape[0], shown.shape[1]
    assert whole.shape == (height, 3 * width, 3)
    np.testing.assert_array_equal(shown, whole[:, width : 2 * width])
    palette = {tuple(color) for color in colorize(np.arange(19, dtype=np.uint8)[None])[0].tolist()}
    assert {tuple(pixel) for pixel in shown[TEXT_HEIGHT:].reshape(-1, 3).tolist()} <= palette

    record = {"setting": {"train_arguments": []}, "machines": [], "scores": {"full": {"0": scores(20, 50)}}}
    (tmp_path / "record.json").write_text(json.dumps(record))
    for place, is_there in ((tmp_path, True), (tmp_path / "images", False)):
        program.write_page(place / "page.md", tmp_path / "none.json", tmp_path / "record.json")
        assert (f"](images/{program.PICTURE})" in (place / "page.md").read_text()) == is_there


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rows", "fll"], "--rows: got fll, expected some of source_only full"),
        (["--start", "efficientvit"], "--weights: got None, expected a file that exists"),
        (["--start", "efficientvit", "--weights", __file__, "--data", "/nowhere"], "--data: got /nowhere, expected a"),
        (["--start", "efficientvit", "--weights", __file__, "--rows", "fll"], "expected some of .* without_blend"),
    ],
)
def test_mistakes_are_named(program, capsys, arguments, words):
    with pytest.raises(SystemExit) as exit_:
        program.parse(arguments)
    assert exit_.value.code == 2
    assert re.search(words, capsys.readouterr().err)


def run(program, tiny, tmp_path, *arguments):
    rows = ("--rows", "beyond", "--seeds", "5", "--jobs", "1", "--input-size", "64", "96")
    places = ("--folder", tmp_path / "runs", "--json", tmp_path / "record.json", "--page", tmp_path / "page.md")
    start = ("--start", "efficientvit", "--weights", tiny.weights, "--data", tiny.data)
    tiny_arguments = [f"--train-arg={argument}" for argument in TINY]
    return program.main([*map(str, (*start, *places, *rows)), *tiny_arguments, *arguments])


def test_without_time_nothing_is_run_and_the_page_says_so(program, tiny, tmp_path, capsys):
    assert run(program, tiny, tmp_path, "--budget-min", "0") == 0
    assert "out of time: the same command goes on" in capsys.readouterr().out
    assert not (tmp_path / "record.json").exists()
    assert "None of these rows has been run yet." in (tmp_path / "page.md").read_text()


@pytest.mark.slow
def test_rows_are_trained_measured_and_not_run_twice(program, tiny, tmp_path, monkeypatch):
    assert run(program, tiny, tmp_path) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert set(record["scores"]) == {"beyond"}
    for row in record["scores"].values():
        for when in ("night", "day"):
            assert 0 <= row["5"][when]["miou_percent"] <= row["5"][when]["pixel_accuracy_percent"] <= 100
    folder = next((tmp_path / "runs/seed_5").glob("beyond-*"))
    metadata = load_metadata(folder / "last.safetensors")
    assert metadata.input_size == (64, 96)
    assert "1 steps of batch 2, lr 0.0004, preset beyond, seed 5" in metadata.source
    assert "| w/o class mixing |  | not run |" in (tmp_path / "page.md").read_text()

    monkeypatch.setattr(program.Runs, "dannet", None)  # a verb that is started now fails
    assert run(program, tiny, tmp_path) == 0
    assert json.loads((tmp_path / "record.json").read_text())["scores"] == record["scores"]
    with pytest.raises(RuntimeError, match=r"train_arguments is .* there, .* here"):
        run(program, tiny, tmp_path, "--train-arg=--optimiser.lr=0.1")
