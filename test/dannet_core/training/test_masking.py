import pytest

torch = pytest.importorskip("torch")

from dannet_core.data.loaders import seeded  # noqa: E402 - after the skip
from dannet_core.errors import SettingsError  # noqa: E402
from dannet_core.training.domain_step import Part, StepResult  # noqa: E402
from dannet_core.training.masking import BLOCK, MaskedConsistency, covering  # noqa: E402
from dannet_core.training.night_labels import NightLabeller  # noqa: E402
from dannet_core.training.precision import Precision  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402
from dannet_core.training.step_inputs import StepInputs  # noqa: E402

FP32 = Precision("fp32", torch.device("cpu"))


def test_whole_squares_are_covered_and_as_many_as_asked_for():
    masks = torch.stack([covering(seeded(seed), (70, 96), 0.7) for seed in range(60)])
    assert masks.shape == (60, 70, 96)
    for top in (0, 32, 64):
        for left in (0, 32, 64):
            square = masks[:, top : top + BLOCK, left : left + BLOCK].flatten(1)
            assert (square == square[:, :1]).all()
    assert float(masks.float().mean()) == pytest.approx(0.7, abs=0.05)
    assert not covering(seeded(0), (64, 64), 0.0).any()
    assert covering(seeded(0), (64, 64), 1.0).all()


class Teacher:
    """Certain of class 1 where the picture is bright: everywhere, if it is shown the whole picture."""

    def logits(self, images, size):
        logits = torch.zeros(len(images), 3, *size)
        logits[:, 1] = 20 * images.mean(dim=1)
        return logits


class Seen:
    def __init__(self):
        self.bias = torch.zeros(3, requires_grad=True)
        self.shown = []

    def forward(self, images, size):
        self.shown.append(images)
        return images, self.bias.view(1, 3, 1, 1).expand(len(images), 3, *size), None


def test_what_is_covered_keeps_the_labels_of_the_whole_picture():
    bright = torch.ones(2, 3, 64, 64)
    inputs = StepInputs(bright, torch.full((2, 64, 64), 2), bright, bright, (64, 64), [], 0, (0, 1))
    networks, part = Seen(), Part(inputs, StepResult(), 1.0)
    before = torch.get_rng_state()
    labeller = NightLabeller(Teacher(), 0.9, FP32)
    MaskedConsistency(networks, labeller, weight=3.0, covered=0.5, seed=0, precision=FP32).adapt(part)
    assert torch.equal(torch.get_rng_state(), before)
    night, source = networks.shown
    assert 0 < float(night.mean()) < 1
    assert not torch.equal(night, source)
    losses = {name: float(loss) for name, loss in part.result.losses.items()}
    assert losses == pytest.approx({"masked_night": 1.0986123, "masked_source": 1.0986123})
    torch.testing.assert_close(networks.bias.grad, 3.0 * torch.tensor([2 / 3, -1 / 3, -1 / 3]))


def test_masking_is_a_pass_of_the_run_and_needs_a_teacher(tiny_run, tmp_path):
    changes = {"beyond__masking": 1.0, "loss__target_losses": False, "optimiser__steps": 1}
    last = run_training(tiny_run(**changes, beyond__teacher=0.9), "train")
    assert {"masked_night", "masked_source"} < set((last.parent / "metrics.jsonl").read_text().split('"'))
    with pytest.raises(SettingsError, match=r"beyond.masking needs the pseudo labels of a teacher"):
        run_training(tiny_run(**changes, run_dir=tmp_path / "other"), "train")
