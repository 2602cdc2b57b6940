"""What a resumed run may have otherwise, and that a refusal leaves the run folder as it was."""

import shutil
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch")

from dannet_core.errors import DataSetError, SettingsError  # noqa: E402 - after the skip
from dannet_core.training.checkpoint import read_checkpoint  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402

ONE = {"optimiser__steps": 1, "watch__checkpoint_every": 1}


@pytest.fixture
def moved(toy_root, tmp_path, monkeypatch):
    """A copy of the toy data that has trained one step of both domains; gives its folder."""
    shutil.copytree(toy_root, tmp_path / "old")
    return tmp_path / "old"


def places(root: Path) -> dict[str, object]:
    return {"data__source": root / "cityscapes", "data__target": root / "dark_zurich"}


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def refused(config, said: str) -> None:
    before = state_of(config.run_dir)
    with pytest.raises(SettingsError, match=said) as caught:
        run_training(config, "train")
    assert "\n" not in str(caught.value)
    assert state_of(config.run_dir) == before


def test_a_refused_resume_changes_nothing_and_moved_data_goes_on(tiny_run, moved, tmp_path, monkeypatch):
    config = tiny_run(**places(moved), **ONE)
    run_training(config, "train")
    refused(tiny_run(**places(moved), **ONE, optimiser__lr=0.5, resume=True), "optimiser.lr: got 0.5, but the run")

    new = moved.rename(tmp_path / "new")
    run_training(tiny_run(**places(new), **ONE, resume=True), "train")
    text = (config.run_dir / "config.yaml").read_text()
    assert yaml.safe_load(text)["data"]["source"] == str(new / "cityscapes")
    assert f"# resumed after step 1; until then data.source: {moved / 'cityscapes'}\n" in text

    (tmp_path / "linked").symlink_to(new)
    monkeypatch.chdir(tmp_path)
    for root in (tmp_path / "linked", Path("new"), Path("new/../linked/.")):
        run_training(tiny_run(**places(root), **ONE, resume=True), "train")
    assert text.splitlines()[1] in (config.run_dir / "config.yaml").read_text().splitlines()

    label = next((new / "cityscapes/gtFine/train").rglob("*_labelIds.png"))
    image = next((new / "cityscapes/leftImg8bit/train").rglob(label.name.replace("_gtFine_labelIds", "_leftImg8bit")))
    whole = image.read_bytes()
    image.write_bytes(whole + b"x")
    said = (
        rf"data.source: not the data of the run to resume: 1 of 5 samples differ, the first: got .* \({len(whole) + 1} "
    )
    refused(tiny_run(**places(new), **ONE, resume=True), said)
    for path in (label, image):
        path.unlink()
    for other in label.parent.glob(label.name.replace("labelIds", "*")):
        other.unlink()
    refused(tiny_run(**places(new), **ONE, resume=True), "data.source: not the data .*: got 4 samples, expected 5")


def test_pairs_may_be_listed_elsewhere_as_long_as_they_are_the_same(tiny_run, moved, tmp_path):
    run_training(tiny_run(**places(moved), **ONE), "train")
    lines = (
        sorted(
            line
            for path in (moved / "dark_zurich/corresp").rglob("*_ref_day.csv")
            for line in path.read_text().splitlines()
        )
        or (moved / "dark_zurich/lists/zurich_dn_pair_train.csv").read_text().splitlines()
    )
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    run_training(tiny_run(**places(moved), **ONE, data__pairs=tmp_path / "pairs.csv", resume=True), "train")
    (tmp_path / "pairs.csv").write_text("\n".join(lines[1:]))
    refused(
        tiny_run(**places(moved), **ONE, data__pairs=tmp_path / "pairs.csv", resume=True),
        "data.target: not the data of the run to resume: got 2 samples, expected 3",
    )


def test_a_checkpoint_that_does_not_say_what_data_it_saw_goes_by_the_place(tiny_run, moved, tmp_path):
    config = tiny_run(**places(moved), **ONE)
    run_training(config, "pretrain")
    (checkpoint,) = (config.run_dir / "checkpoints").glob("*.pt")
    state = read_checkpoint(checkpoint)
    for key in ("data", "owes_evaluation"):
        del state[key]
    torch.save(state, checkpoint)
    run_training(tiny_run(**places(Path(f"{moved}/")), **ONE, resume=True), "pretrain")
    new = moved.rename(tmp_path / "new")
    before = state_of(config.run_dir)
    with pytest.raises(
        SettingsError, match=r"data.source: got .*: its checkpoint does not say which files it saw: link"
    ):
        run_training(tiny_run(**places(new), **ONE, resume=True), "pretrain")
    assert state_of(config.run_dir) == before


def test_the_model_a_run_started_from_need_not_be_there_any_more(tiny_run, tmp_path):
    start = run_training(tiny_run(run_dir=tmp_path / "pre", **ONE), "pretrain").rename(tmp_path / "start.safetensors")
    run_training(tiny_run(**ONE, init=start), "pretrain")
    start.unlink()
    run_training(tiny_run(**ONE, init=start, resume=True), "pretrain")


def test_damaged_validation_labels_are_found_before_the_first_step(tiny_run, moved):
    label = next((moved / "dark_zurich/gt/val").rglob("*_gt_labelTrainIds.png"))
    label.write_bytes(label.read_bytes()[:40] + label.read_bytes()[44:])
    with pytest.raises(DataSetError, match=label.name):
        run_training(tiny_run(**places(moved), watch__validation="dark-zurich"), "pretrain")
