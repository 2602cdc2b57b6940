"""Many bags by processes of this machine: one summary, nothing done twice, nobody who dies taken for done."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dannet_core.evaluation.confusion import ConfusionMatrix
from dannet_core.pixels import write_png
from dannet_ros.replay.__main__ import main
from dannet_ros.replay.bag_reading import open_bag

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
COUNT = 3

pytestmark = pytest.mark.slow


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(fleets, tmp_path: Path) -> Path:
    return fleets.write(tmp_path / "night", [COUNT] * 3)


@pytest.fixture
def evaluate(fleets, tiny_onnx: Path):
    def run(bags: Path, out: Path, *more: str, model: Path = tiny_onnx, code: int = 0) -> dict[str, Any]:
        assert main(fleets.arguments([bags], model, out, *more)) == code
        return fleets.summary(out)

    return run


def test_twelve_bags_one_of_them_damaged(fleets, evaluate, tiny_onnx: Path, tmp_path: Path, capsys: Any) -> None:
    folder = fleets.write(tmp_path / "night", [2] * 12)
    (damaged,) = (folder / "drive_07").glob("*.mcap")
    damaged.write_bytes(b"not a bag at all")
    content = evaluate(folder, tmp_path / "out", "--jobs", "2", "--write-bag", "none", code=1)
    said = capsys.readouterr()
    assert (content["bags_found"], content["bags_evaluated"], content["bags_failed"]) == (12, 11, 1)
    assert (content["complete"], content["frames_labelled"]) == (False, 22)
    (failed,) = (row for row in content["bags"] if row["status"] == "failed")
    assert failed["name"] == "drive_07"
    (line,) = said.err.strip().splitlines()
    assert "drive_07 failed: " in line
    assert failed["why"] in line
    assert not (tmp_path / "out" / "bags" / "drive_07").exists()
    total = ConfusionMatrix()
    for row in content["bags"]:
        if row["status"] == "evaluated":
            single = json.loads((tmp_path / "out" / row["metrics"]).read_text())
            total += ConfusionMatrix(np.array(single["models"][0]["scores"]["confusion_matrix"]["pixels"]))
    (model,) = content["models"]
    assert model["scores"]["miou_present"] == total.miou_present
    assert model["scores"]["confusion_matrix"]["pixels"] == total.counts.tolist()
    averaged = np.mean([row["models"]["tiny"]["scores"]["miou_present"] for row in content["bags"] if "models" in row])
    assert model["scores"]["miou_present"] != pytest.approx(averaged)


def test_each_bags_result_is_that_of_the_bag_alone(fleets, evaluate, folder: Path, tiny_onnx, tmp_path: Path) -> None:
    evaluate(folder, tmp_path / "out", "--jobs", "2")
    one = ["evaluate_bag", str(folder / "drive_01"), "--model", str(tiny_onnx), "--out", str(tmp_path / "one")]
    assert main(one) == 0
    assert fleets.timeless(tmp_path / "out" / "bags" / "drive_01") == fleets.timeless(tmp_path / "one")
    with open_bag(tmp_path / "out" / "bags" / "drive_01" / "bag") as some, open_bag(tmp_path / "one" / "bag") as one:
        assert list(some.raw(list(some.kinds))) == list(one.raw(list(one.kinds)))


@pytest.mark.usefixtures("inline")
def test_the_summary_ranks_bags_and_frames_and_pools_what_is_counted_by_frame(
    fleets, evaluate, folder: Path, tmp_path: Path
) -> None:
    content = evaluate(folder, tmp_path / "out", "--write-bag", "none", "--worst", "2")
    singles, (model,) = fleets.results(tmp_path / "out"), content["models"]
    mious = {name: one["models"][0]["scores"]["miou_present"] for name, one in singles.items()}
    assert model["worst_bags"] == sorted(mious, key=mious.__getitem__)[:2]
    frames = [
        (frame["models"]["tiny"]["miou_present"], name, index)
        for name, one in singles.items()
        for index, frame in enumerate(one["frames"])
    ]
    assert [(one["score"], one["bag"], one["index"]) for one in model["worst_frames"]] == sorted(frames)[:2]
    confidences = [f["models"]["tiny"]["confidence"] for one in singles.values() for f in one["frames"]]
    assert model["confidence"]["p50"] == np.percentile(confidences, 50)
    shares = [one["models"][0]["label_shares"]["road"] for one in singles.values()]
    assert model["label_shares"]["road"] == pytest.approx(np.mean(shares))
    assert sum(model["label_shares"].values()) == pytest.approx(1)
    assert (content["complete"], content["interrupted"], content["problems"]) == (True, False, [])


def test_one_after_the_other_and_two_at_a_time_give_the_same(fleets, evaluate, folder: Path, tmp_path: Path) -> None:
    evaluate(folder, tmp_path / "a", "--jobs", "1")
    evaluate(folder, tmp_path / "b", "--jobs", "2")
    assert fleets.timeless(tmp_path / "a") == fleets.timeless(tmp_path / "b")
    assert fleets.results(tmp_path / "a") == fleets.results(tmp_path / "b")


def test_a_worker_killed_in_the_middle_changes_nothing(fleets, evaluate, tiny_onnx: Path, tmp_path: Path) -> None:
    folder, out = fleets.write(tmp_path / "night", [3, 300, 3]), tmp_path / "out"
    evaluate(folder, tmp_path / "serial", "--jobs", "1")
    with fleets.started(fleets.arguments([folder], tiny_onnx, out, "--jobs", "2")) as process:
        killed = fleets.kill_worker(process, out, "drive_01")
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert errors.strip() == "drive_01: its worker was killed by SIGKILL (attempt 1 of 3): done again"
    assert fleets.ended(killed)
    assert fleets.summary(out)["timing"]["attempts"]["drive_01"] == 2
    assert fleets.timeless(out) == fleets.timeless(tmp_path / "serial")
    assert fleets.results(out) == fleets.results(tmp_path / "serial")
    assert fleets.half_done(out) == []


def test_a_bag_that_all_workers_die_of_is_given_up_by_name(fleets, tiny_onnx: Path, tmp_path: Path) -> None:
    folder, out = fleets.write(tmp_path / "night", [3, 300]), tmp_path / "out"
    with fleets.started(fleets.arguments([folder], tiny_onnx, out)) as process:
        killed: list[int] = []
        for _ in range(3):
            killed.append(fleets.kill_worker(process, out, "drive_01", killed))
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "drive_01 failed: given up: 3 workers died of it, the last one was killed by SIGKILL" in errors
    content = fleets.summary(out)
    assert [row["status"] for row in content["bags"]] == ["evaluated", "failed"]
    assert names(out / "bags") == ["drive_00"]


def test_ctrl_c_stops_the_workers_leaves_nothing_half_and_the_same_command_goes_on(
    fleets, evaluate, tiny_onnx: Path, tmp_path: Path, capsys: Any
) -> None:
    folder, out = fleets.write(tmp_path / "night", [3, 300, 3]), tmp_path / "out"
    with fleets.started(fleets.arguments([folder], tiny_onnx, out)) as process:
        while not any(name == "drive_01" for name, _ in fleets.half_done(out)):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        ((_, worker),) = fleets.half_done(out)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (130, "")
    assert fleets.ended(worker, timeout_s=0.1)
    assert names(out / "bags") == ["drive_00"]
    assert names(out) == ["bags", "metrics.json", "report.html"]
    content = fleets.summary(out)
    assert (content["interrupted"], content["complete"], content["bags_evaluated"]) == (True, False, 1)
    assert [row["status"] for row in content["bags"]] == ["evaluated", "not done", "not done"]
    assert evaluate(folder, out)["timing"]["kept"] == ["drive_00"]
    evaluate(folder, tmp_path / "whole")
    assert fleets.timeless(out) == fleets.timeless(tmp_path / "whole")


def test_workers_do_not_outlive_a_program_that_was_killed(fleets, evaluate, tiny_onnx: Path, tmp_path: Path) -> None:
    folder, out = fleets.write(tmp_path / "night", [300, 3]), tmp_path / "out"
    with fleets.started(fleets.arguments([folder], tiny_onnx, out)) as process:
        while not fleets.half_done(out):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        ((_, worker),) = fleets.half_done(out)
        process.kill()
        assert fleets.ended(worker)
    assert evaluate(folder, out)["complete"]
    assert fleets.half_done(out) == []


def test_what_is_done_is_not_done_again(fleets, evaluate, folder: Path, tmp_path: Path, bags, capsys: Any) -> None:
    out = tmp_path / "out"
    first = evaluate(folder, out, "--jobs", "1")
    before = {path: path.stat().st_mtime_ns for path in out.glob("bags/*/*")}
    bags.write(folder / "drive_99", bags.frames(COUNT, seed=99), bags.labels(COUNT, seed=99))
    second = evaluate(folder, out, "--jobs", "2")
    assert second["timing"]["kept"] == ["drive_00", "drive_01", "drive_02"]
    assert second["bags"][:3] == first["bags"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert second["bags_evaluated"] == 4
    assert "drive_00: done already" in capsys.readouterr().out
    assert evaluate(folder, out, "--jobs", "1", "--overwrite")["timing"]["kept"] == []


@pytest.mark.usefixtures("inline")
def test_a_bag_with_other_bytes_is_done_again_whatever_its_size_and_times(
    fleets, evaluate, folder: Path, bags, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = evaluate(folder, out)
    (file,) = (folder / "drive_01").glob("*.mcap")
    before = file.stat()
    other = bags.write(tmp_path / "other" / "drive_01", bags.frames(COUNT, seed=77), bags.labels(COUNT, seed=101))
    shutil.copyfile(other / file.name, file)
    assert file.stat().st_size == before.st_size
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = evaluate(folder, out)
    assert second["timing"]["kept"] == ["drive_00", "drive_02"]
    assert second["bags"][1]["models"] != first["bags"][1]["models"]


@pytest.mark.usefixtures("inline")
def test_a_bag_that_was_only_touched_is_kept(fleets, evaluate, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = evaluate(folder, out)
    for file in (folder / "drive_01").iterdir():
        os.utime(file)
    second = evaluate(folder, out)
    assert second["timing"]["kept"] == ["drive_00", "drive_01", "drive_02"]
    assert second["bags"] == first["bags"]


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--min-confidence", "0.2"), "min_confidence was 0.0, is 0.2"),
        (("--tone", "log"), "tone was gamma, is log"),
        (("--labels", "none"), "labels differ"),
        (("--write-bag", "outputs"), "write_bag was none, is outputs"),
        (("--threads", "1"), "threads was 0, is 1"),
    ],
)
def test_other_settings_are_done_again_and_named(
    evaluate, fleets, tmp_path: Path, capsys: Any, change: tuple[str, str], said: str
) -> None:
    folder, out = fleets.write(tmp_path / "night", [2]), tmp_path / "out"
    plain = [] if change[0] == "--write-bag" else ["--write-bag", "none"]
    evaluate(folder, out, "--write-bag", "none")
    assert evaluate(folder, out, *change, *plain)["timing"]["kept"] == []
    assert f"drive_00: done again: {said}" in capsys.readouterr().out


@pytest.mark.usefixtures("inline")
def test_another_model_under_the_same_name_is_done_again(
    evaluate, fleets, tiny_onnx: Path, blind_onnx: Path, tmp_path: Path, capsys: Any
) -> None:
    folder, out, model = fleets.write(tmp_path / "night", [2]), tmp_path / "out", tmp_path / "model.onnx"
    shutil.copyfile(tiny_onnx, model)
    evaluate(folder, out, model=model)
    shutil.copyfile(blind_onnx, model)
    assert evaluate(folder, out, model=model)["timing"]["kept"] == []
    assert "drive_00: done again: models differ" in capsys.readouterr().out


@pytest.mark.usefixtures("inline")
def test_other_labels_in_the_same_folder_are_done_again(evaluate, fleets, bags, tmp_path: Path, capsys: Any) -> None:
    folder, out = fleets.write(tmp_path / "night", [2], truth=False), tmp_path / "out"
    file = tmp_path / "labels" / f"{bags.START_NS}.png"
    file.parent.mkdir()
    write_png(file, bags.labels(1)[0])
    first = evaluate(folder, out, "--labels", str(file.parent))
    write_png(file, bags.labels(1, seed=60)[0])
    second = evaluate(folder, out, "--labels", str(file.parent))
    assert second["timing"]["kept"] == []
    assert second["models"][0]["scores"] != first["models"][0]["scores"]
    assert "drive_00: done again: labels differ" in capsys.readouterr().out


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("damage", ["metrics.json", "report.html", "bag/metadata.yaml", "done.json"])
def test_a_result_that_is_no_longer_whole_is_done_again(evaluate, fleets, tmp_path: Path, damage: str) -> None:
    folder, out = fleets.write(tmp_path / "night", [2]), tmp_path / "out"
    first, file = evaluate(folder, out), out / "bags" / "drive_00" / damage
    if damage == "bag/metadata.yaml":
        file.unlink()
    else:
        file.write_text(file.read_text().replace("0.", "0.9", 1)[: -9 if damage == "done.json" else None])
    second = evaluate(folder, out)
    assert second["timing"]["kept"] == []
    assert second["bags"] == first["bags"]


@pytest.mark.usefixtures("inline")
def test_bags_of_the_same_name_and_copies_do_not_get_in_each_others_way(
    evaluate, fleets, bags, tiny_onnx: Path, tmp_path: Path
) -> None:
    for number, day in enumerate(("monday", "tuesday")):
        bags.write(tmp_path / day / "drive", bags.frames(2, seed=number), bags.labels(2))
    shutil.copytree(tmp_path / "monday", tmp_path / "copy")
    days = [tmp_path / day for day in ("monday", "tuesday", "copy")]
    out = tmp_path / "out"
    assert main(fleets.arguments([*days, days[0] / "drive"], tiny_onnx, out, "--write-bag", "none")) == 0
    content = fleets.summary(out)
    called = ["monday_drive", "tuesday_drive", "copy_drive"]
    assert [row["name"] for row in content["bags"]] == called
    assert names(out / "bags") == sorted(called)
    assert content["notes"] == [
        f"{days[0] / 'drive'}: named twice: counted once",
        "monday_drive and copy_drive hold the same bytes: counted 2 times",
    ]
    assert content["bags"][0]["models"] != content["bags"][1]["models"]


@pytest.mark.usefixtures("inline")
def test_bags_without_ground_truth_are_said_to_be_outside_of_the_scores(evaluate, fleets, bags, tmp_path: Path) -> None:
    folder = fleets.write(tmp_path / "night", [2, 2])
    bags.write(folder / "drive_02", bags.frames(2, seed=9))
    content = evaluate(folder, tmp_path / "out", "--write-bag", "none")
    assert content["notes"] == ["no ground truth in drive_02: the scores are of the other bags"]
    (model,) = content["models"]
    assert "drive_02" not in model["worst_bags"]
    assert {one["of"] for one in model["worst_frames"]} == {"miou_present"}


@pytest.mark.usefixtures("inline")
def test_two_models_are_compared_over_all_bags(
    evaluate, fleets, folder: Path, blind_onnx: Path, tmp_path: Path
) -> None:
    content = evaluate(folder, tmp_path / "out", "--compare", str(blind_onnx), "--write-bag", "none")
    assert [model["name"] for model in content["models"]] == ["tiny", "blind"]
    singles = fleets.results(tmp_path / "out").values()
    assert content["agreement"]["mean"] == pytest.approx(np.mean([one["agreement"]["mean"] for one in singles]))


@pytest.mark.usefixtures("inline")
def test_no_bag_that_can_be_evaluated_is_one_line(evaluate, fleets, tiny_onnx: Path, tmp_path: Path, capsys) -> None:
    folder = fleets.write(tmp_path / "night", [2, 2])
    for file in folder.glob("*/*.mcap"):
        file.write_bytes(b"nothing")
    assert main(fleets.arguments([folder], tiny_onnx, tmp_path / "out")) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("dannet_ros.replay evaluate_bag: none of 2 bags could be evaluated, drive_00 because: ")
    assert not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--live"], "live: got 1 bags and workers, expected one bag alone"),
        (["--jobs", "0"], "jobs: got 0, expected 1 to 1024"),
        (["--out", "BAG/out"], "lies inside the bag"),
        (["--model", "nowhere.onnx"], "nowhere.onnx: no such model file"),
        (["--classes", "nowhere.yaml"], "nowhere.yaml: cannot read"),
        (["--compare", "MODEL"], "expected another model than --model"),
    ],
)
def test_mistakes_are_one_line_before_any_work(
    fleets, tiny_onnx: Path, tmp_path: Path, capsys: Any, more: list[str], said: str
) -> None:
    folder = fleets.write(tmp_path / "night", [2])
    words = [word.replace("MODEL", str(tiny_onnx)).replace("BAG", str(folder / "drive_00")) for word in more]
    assert main(fleets.arguments([folder], tiny_onnx, tmp_path / "out", *words)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert not list((tmp_path / "out").glob("bags/*"))


@pytest.mark.usefixtures("inline")
def test_what_others_keep_there_is_never_replaced(
    fleets, tiny_onnx: Path, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    theirs = tmp_path / "out" / "bags" / "drive_01" / "thesis.tex"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("years of work")
    command = fleets.arguments([folder], tiny_onnx, tmp_path / "out")
    assert main([*command, "--overwrite"]) == 2
    assert "drive_01: is there and holds no result" in capsys.readouterr().err
    assert theirs.read_text() == "years of work"
    one = ["evaluate_bag", str(folder / "drive_00"), "--model", str(tiny_onnx), "--out", str(tmp_path / "one")]
    assert main(one) == 0
    assert main(fleets.arguments([folder], tiny_onnx, tmp_path / "one")) == 2
    assert "holds other results already" in capsys.readouterr().err


def test_two_programs_do_not_write_to_one_folder(fleets, tiny_onnx: Path, tmp_path: Path, capsys: Any) -> None:
    folder, out = fleets.write(tmp_path / "night", [300]), tmp_path / "out"
    command = fleets.arguments([folder], tiny_onnx, out)
    with fleets.started(command) as process:
        while not fleets.half_done(out):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        assert main(command) == 2
        assert "another evaluate_bag is writing there" in capsys.readouterr().err
        assert process.wait(300) == 0


@pytest.mark.usefixtures("inline")
def test_one_bag_and_a_number_of_jobs_is_a_fleet_of_one(fleets, evaluate, folder: Path, tmp_path: Path) -> None:
    content = evaluate(folder / "drive_00", tmp_path / "out", "--jobs", "1", "--write-bag", "none")
    assert content["format"] == "dannet_ros evaluate_bag fleet 1"
    assert [row["name"] for row in content["bags"]] == ["drive_00"]


@pytest.mark.usefixtures("inline")
def test_results_among_the_bags_change_nothing(fleets, evaluate, tmp_path: Path) -> None:
    folder = fleets.write(tmp_path / "night", [2, 2])
    evaluate(folder, folder / "out")
    first = fleets.timeless(folder / "out")
    assert evaluate(folder, folder / "out")["timing"]["kept"] == ["drive_00", "drive_01"]
    assert fleets.timeless(folder / "out") == first


@pytest.mark.usefixtures("inline")
def test_bags_may_be_named_in_a_file(fleets, tiny_onnx: Path, folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "night.yaml"
    config.write_text(f"bag: {folder}\nmodel: {tiny_onnx}\nwrite_bag: none\njobs: 2\n")
    assert main(["evaluate_bag", "--config", str(config), "--out", str(tmp_path / "out")]) == 0
    assert fleets.summary(tmp_path / "out")["bags_evaluated"] == 3


def test_without_ray_its_option_says_what_to_install(folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules["ray"] = None
from dannet_ros.replay.__main__ import main
sys.exit(main(["evaluate_bag", {str(folder)!r}, "--model", {str(tiny_onnx)!r}, "--out", {str(tmp_path / "o")!r},
               "--ray", "auto"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "ray is needed to evaluate bags on a cluster" in line
    assert "pip install 'dannet_ros[ray]'" in line


@pytest.mark.usefixtures("inline")
def test_the_guide_names_options_and_keys_that_exist(
    fleets, evaluate, folder: Path, blind_onnx: Path, tmp_path: Path, capsys: Any
) -> None:
    guide = (Path(__file__).parents[4] / "docs" / "evaluate_many_bags.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["evaluate_bag", "--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert set(re.findall(r"(?<![|-])--[a-z][a-z-]+", guide)) <= known
    content = evaluate(folder, tmp_path / "out", "--compare", str(blind_onnx), "--write-bag", "none")
    rows = re.findall(r"^\| ((?:`[a-z_]+(?:\[\])?`(?:, )?)+) \|", guide.partition("## What comes out")[2], re.MULTILINE)
    assert {key for row in rows for key in re.findall(r"[a-z_]+", row)} == set(content) - {"format", "version"}
    (row,) = re.findall(r"\| `bags\[\]` \| (.+) \|", guide)
    assert set(re.findall(r"`([a-z_0-9]+)`", row)) - {"evaluated", "failed", "why"} <= set(content["bags"][0])
