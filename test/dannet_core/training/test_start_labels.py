import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dannet_core.data.augmentation import whole_images  # noqa: E402 - after the skip
from dannet_core.errors import DannetError, SettingsError  # noqa: E402
from dannet_core.formats.label_png import read_label_png  # noqa: E402
from dannet_core.networks.weights import load_weights  # noqa: E402
from dannet_core.pixels import read_rgb  # noqa: E402
from dannet_core.training.distributed import Processes  # noqa: E402
from dannet_core.training.feed import open_feed  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402
from dannet_core.training.start_labels import FOLDER, certain_labels  # noqa: E402


@pytest.fixture
def start(tiny_run, tmp_path):
    config = tiny_run(run_dir=tmp_path / "pre", optimiser__steps=2, optimiser__lr=0.05)
    return run_training(config, "pretrain")


def test_only_what_the_model_is_certain_of_is_a_label():
    class Halves(torch.nn.Module):
        def forward(self, images):
            logits = torch.zeros(1, 4, *images.shape[-2:])
            logits[:, 2, :, :40] = 5.0  # likelihood 0.98
            logits[:, 3, :, 40:] = 1.0  # likelihood 0.48
            return type("Output", (), {"logits": logits})

    rgb = np.zeros((64, 80, 3), np.uint8)
    labels = certain_labels(Halves(), rgb, 0.9, torch.device("cpu"))
    assert labels.dtype == np.uint8
    assert np.unique(labels[:, :40]).tolist() == [2]
    assert np.unique(labels[:, 40:]).tolist() == [255]
    assert np.unique(certain_labels(Halves(), rgb, 0.4, torch.device("cpu"))).tolist() == [2, 3]


def test_the_model_sees_a_picture_at_its_own_size_and_labels_the_pictures():
    seen = []

    class Quarters(torch.nn.Module):
        def forward(self, images):
            seen.append(tuple(images.shape))
            logits = torch.zeros(1, 4, *images.shape[-2:])
            logits[:, 2, images.shape[-2] // 2 :] = 20.0
            return type("Output", (), {"logits": logits})

    labels = certain_labels(Quarters(), np.zeros((60, 80, 3), np.uint8), 0.9, torch.device("cpu"), (120, 160))
    assert seen == [(1, 3, 120, 160)]
    assert labels.shape == (60, 80)
    assert (labels[31:] == 2).all()
    assert (labels[:29] == 255).all()


def test_several_views_are_averaged_and_mirrored_back():
    seen = []

    class LeftOfWide(torch.nn.Module):
        """Class 2 on the left half at every size, surer at the largest; class 1 on the right."""

        def forward(self, images):
            seen.append(tuple(images.shape[-2:]))
            logits = torch.zeros(1, 4, *images.shape[-2:])
            half = images.shape[-1] // 2
            red = images[:, 0] > 0
            logits[:, 2] = torch.where(red, 2.0 if half > 60 else 1.0, 0.0)
            logits[:, 1, :, half:] = 0.5  # wherever the picture is turned
            return type("Output", (), {"logits": logits})

    rgb = np.zeros((64, 96, 3), np.uint8)
    rgb[:, :48, 0] = 255
    one = certain_labels(LeftOfWide(), rgb, 0.0, torch.device("cpu"), (80, 120))
    assert seen == [(80, 120)]
    assert np.unique(one[:, :40]).tolist() == [2]
    assert np.unique(one[:, 56:]).tolist() == [1]

    seen.clear()
    several = certain_labels(LeftOfWide(), rgb, 0.4, torch.device("cpu"), (80, 120), scales=(0.75, 1.0, 1.25))
    assert seen == [(60, 90), (60, 90), (80, 120), (80, 120), (100, 150), (100, 150)]
    assert np.unique(several[:, :40]).tolist() == [2]
    # Likelihoods of class 1 are 0.35 as it is and 0.25 mirrored: certain of neither.
    assert np.unique(several[:, 56:]).tolist() == [255]


def test_pairs_and_a_start_model_are_enough_and_the_run_resumes_without_the_model(tiny_run, toy_root, start):
    config = tiny_run(data__source=None, init=start, beyond__certain_start=0.0)
    last = run_training(config, "train")
    written = sorted(path.name for path in (config.run_dir / FOLDER).rglob("*.png"))
    days = {path.name for path in (toy_root / "dark_zurich/rgb_anon/train/day").rglob("*.png")}
    assert written
    assert {name.replace("_labelTrainIds", "_rgb_anon") for name in written} <= days
    assert "segmentation" in (config.run_dir / "metrics.jsonl").read_text()
    one = next((config.run_dir / FOLDER).rglob("*.png"))
    labels = read_label_png(one, "train_ids")
    assert set(np.unique(labels)) <= {*range(19), 255}
    assert (labels != 255).any()

    before = load_weights(last).state_dict()
    (config.run_dir / "checkpoints" / "step_00000004.pt").unlink()  # as if killed after step 2
    start.unlink()
    again = run_training(tiny_run(data__source=None, init=start, beyond__certain_start=0.0, resume=True), "train")
    torch.testing.assert_close(load_weights(again).state_dict(), before, rtol=0, atol=0)


def test_more_day_pictures_are_labelled_beside_the_pairs_and_may_move(tiny_run, toy_root, tmp_path, start):
    more = tmp_path / "more"
    (more / "a").mkdir(parents=True)
    pictures = sorted((toy_root / "cityscapes/leftImg8bit/train").rglob("*.png"))[:2]
    for place, picture in zip(("a/one.png", "two.PNG"), pictures, strict=True):
        (more / place).write_bytes(picture.read_bytes())
    changes = {"init": start, "data__source": None, "beyond__certain_start": 0.0, "optimiser__steps": 2}
    config = tiny_run(data__days=more, **changes)
    run_training(config, "train")
    folder = config.run_dir / FOLDER
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
    assert {"days/a/one_labelTrainIds.png", "days/two_labelTrainIds.png"} < written
    assert len(written) == 2 + 3

    resumed = tiny_run(data__days=more, resume=True, **changes)
    feed = open_feed(resumed, "train", Processes(0, 1, torch.device("cpu")))
    ours = [whole_images([torch.from_numpy(read_rgb(path)).permute(2, 0, 1)], (96, 128))[0] for path in pictures]
    for batch in feed.whole_pictures(0, 3):  # the pairs' days are left out: their place is there by night
        assert any(torch.equal(batch[0], one) for one in ours)

    elsewhere = more.rename(tmp_path / "moved")
    run_training(tiny_run(data__days=elsewhere, resume=True, **changes), "train")
    (elsewhere / "two.PNG").unlink()
    with pytest.raises(DannetError, match=r"data.source: not the data of the run to resume: got 4 samples"):
        run_training(tiny_run(data__days=elsewhere, resume=True, **changes), "train")


def test_day_pictures_that_add_nothing_are_refused(tiny_run, toy_root, tmp_path, start):
    def refused(days, match, mode="train", **changes):
        with pytest.raises(DannetError, match=match) as caught:
            run_training(tiny_run(init=start, data__days=days, **changes), mode)
        assert "\n" not in str(caught.value)

    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, "has 0 pictures, and none that the pairs lack", data__source=None)
    refused(empty / "none", "expected a folder of pictures", data__source=None)
    refused(toy_root / "dark_zurich/rgb_anon/train/day", "and none that the pairs lack", data__source=None)
    (empty / "a.png").write_bytes(b"")
    (empty / "a.jpg").write_bytes(b"")
    refused(empty, r"a.png and a.jpg have one name", data__source=None)
    refused(empty, "data.days: got .* for `train` with data.source .*, expected `train` without")
    refused(empty, "data.days: got .* for `pretrain` with data.source None", mode="pretrain", data__source=None)


@pytest.mark.parametrize("mode", ["train", "pretrain"])
def test_without_labels_and_without_a_model_there_is_nothing_to_learn_from(tiny_run, mode):
    config = tiny_run(data__source=None)
    with pytest.raises(SettingsError, match=r"data.source is required: root of the labelled day") as caught:
        run_training(config, mode)
    assert "\n" not in str(caught.value)
    assert not config.run_dir.exists()


def test_a_folder_that_holds_a_run_keeps_its_labels(tiny_run, start):
    config = tiny_run(data__source=None, init=start, optimiser__steps=1, watch__checkpoint_every=1)
    config_2 = tiny_run(data__source=None, init=start, beyond__certain_start=0.0, optimiser__steps=1)
    run_training(tiny_run(optimiser__steps=1, watch__checkpoint_every=1), "train")
    with pytest.raises(SettingsError, match="holds a run already"):
        run_training(config_2, "train")
    assert not (config.run_dir / FOLDER).exists()
