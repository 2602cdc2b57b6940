import pytest

torch = pytest.importorskip("torch")

from dannet_core.data.loaders import seeded  # noqa: E402 - after the skip
from dannet_core.errors import SettingsError  # noqa: E402
from dannet_core.training import streams  # noqa: E402
from dannet_core.training.darkening import normalised, shown  # noqa: E402
from dannet_core.training.distributed import Processes  # noqa: E402
from dannet_core.training.domain_step import Part, StepResult  # noqa: E402
from dannet_core.training.feed import open_feed  # noqa: E402
from dannet_core.training.mixing import ClassMixing, half_of_the_classes, trusted_cross_entropy  # noqa: E402
from dannet_core.training.night_labels import NightLabeller, _likelihoods  # noqa: E402
from dannet_core.training.precision import Precision  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402
from dannet_core.training.run_parts import build_adaptation  # noqa: E402
from dannet_core.training.step_inputs import StepInputs  # noqa: E402

CPU = torch.device("cpu")
FP32 = Precision("fp32", CPU)


def test_half_of_the_classes_are_taken_whole_and_nothing_unlabelled():
    labels = torch.tensor([[3, 3, 255], [5, 7, 255], [7, 9, 3]])
    seen = set()
    for seed in range(20):
        mask = half_of_the_classes(labels, seeded(seed))
        chosen = set(labels[mask].tolist())
        assert len(chosen) == 2
        assert not set(labels[~mask].tolist()) & chosen
        seen |= chosen
    assert seen == {3, 5, 7, 9}
    assert not half_of_the_classes(torch.full((2, 2), 255), seeded(0)).any()
    assert half_of_the_classes(torch.full((2, 2), 4), seeded(0)).all()


def test_the_loss_is_the_cross_entropy_times_the_trust():
    logits = torch.tensor([[[[2.0, 0.0, 1.0]], [[0.0, 1.0, 1.0]]]], requires_grad=True)
    labels = torch.tensor([[[0, 0, 255]]])
    trust = torch.tensor([[[1.0, 0.25, 1.0]]])
    certain, doubted = (torch.nn.functional.softplus(torch.tensor(x)) for x in (-2.0, 1.0))
    assert float(trusted_cross_entropy(logits, labels, trust).detach()) == pytest.approx(
        float((certain + 0.25 * doubted) / 2)
    )
    nothing = trusted_cross_entropy(logits, torch.full((1, 1, 3), 255), trust)
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert not logits.grad.any()


class Fixed:
    """A teacher that is certain of class 1 in the first picture and of nothing in the second."""

    def logits(self, _, size):
        logits = torch.zeros(2, 3, *size)
        logits[0, 1] = 20
        logits[1, 2] = 1
        return logits


class Seen:
    """A generator that remembers what it was shown."""

    def __init__(self):
        self.bias = torch.zeros(3, requires_grad=True)

    def forward(self, images, size):
        self.images = images
        return images, self.bias.view(1, 3, 1, 1).expand(len(images), 3, *size), None


def test_certain_classes_are_pasted_onto_believed_ones():
    source = normalised(torch.full((2, 3, 8, 8), 0.9))
    night = normalised(torch.full((2, 3, 10, 12), 0.1))
    labels = torch.zeros(2, 8, 8, dtype=torch.int64)
    labels[:, :, 4:] = 255
    inputs = StepInputs(source, labels, night, night, (10, 12), [], 3, (0, 1))
    networks = Seen()
    part = Part(inputs, StepResult(), 1.0)
    before = torch.get_rng_state()
    mixing = ClassMixing(networks, NightLabeller(Fixed(), 0.968, FP32), 2.0, 0, FP32)
    mixing.adapt(part)
    assert torch.equal(torch.get_rng_state(), before)
    mixed = shown(networks.images)
    torch.testing.assert_close(mixed[..., 4:], torch.full((2, 3, 8, 4), 0.1))  # the night itself
    assert ((mixed[..., :4] - 0.1).abs() > 1e-4).any()  # the source, darkened
    assert float(mixed.max()) < 0.35
    # 32 pixels of class 0, then 32 of class 1 with trust 1 in one picture, of class 2 with trust 0 in the other.
    assert float(part.result.losses["mixing"]) == pytest.approx((64 + 32) / 128 * 1.0986123, rel=1e-4)
    torch.testing.assert_close(networks.bias.grad, torch.tensor([-0.5, 0.0, 0.5]))


def test_a_stream_of_its_own_is_a_function_of_its_numbers():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    drawn = []
    for number in (4, 5, 4):
        with streams.own_stream(CPU, 0, number):
            drawn.append(torch.rand(3))
    torch.testing.assert_close(torch.rand(2), expected)
    torch.testing.assert_close(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


def test_mixing_follows_the_papers_passes_and_leaves_their_first_step_alone(tiny_run, tmp_path):
    alone = Processes(0, 1, CPU)
    losses = []
    for weight in (0.0, 1.0):
        config = tiny_run(beyond__teacher=0.9, beyond__mixing=weight)
        feed = open_feed(config, "train", alone)
        torch.manual_seed(0)
        adaptation = build_adaptation(config, "train", feed.class_shares, alone)
        result = StepResult()
        adaptation.step.adapt(Part(next(feed.inputs(0, 1)), result, 1.0))
        losses.append({name: float(value) for name, value in result.losses.items()} | {"next": float(torch.rand(1))})
    assert losses[1].pop("mixing") > 0
    assert losses[0] == losses[1]


def test_without_the_papers_target_losses_there_are_no_discriminators(tiny_run):
    config = tiny_run(loss__target_losses=False, beyond__teacher=0.9, beyond__mixing=1.0, optimiser__steps=2)
    last = run_training(config, "train")
    assert last.is_file()
    assert not list(last.parent.glob("*discriminator*"))
    assert {"segmentation", "mixing", "lr"} < set((last.parent / "metrics.jsonl").read_text().split('"'))
    assert "adversarial" not in (last.parent / "metrics.jsonl").read_text()


def test_mixing_without_a_teacher_is_refused(tiny_run):
    with pytest.raises(SettingsError, match=r"beyond.mixing needs the pseudo labels of a teacher: set beyond.teacher"):
        run_training(tiny_run(beyond__mixing=1.0), "train")


def test_fused_labels_are_trusted_by_what_either_picture_is_certain_of():
    class ByPicture:
        def logits(self, images, size):
            logits = torch.zeros(1, 3, *size)
            logits[:, 0 if images.mean() > 0 else 2] = 20
            logits[:, 1, :, 6:] = 25 if images.mean() > 0 else 0  # the day has a moving thing on the right
            return logits

    day, night = torch.ones(1, 3, 8, 8), -torch.ones(1, 3, 8, 8)
    inputs = StepInputs(day, torch.zeros(1, 8, 8, dtype=torch.int64), day, night, (8, 8), [], 0, (0,))
    believed = NightLabeller(ByPicture(), 0.9, FP32, (0, 2))(Part(inputs, StepResult(), 1.0))
    assert (believed.labels[..., :6] == 0).all()
    assert (believed.labels[..., 6:] == 255).all()
    assert (believed.trust == 0.75).all()


def test_confidence_does_not_depend_on_how_the_logits_lie_in_memory():
    logits = torch.randn(2, 19, 6, 8, generator=torch.Generator().manual_seed(0))
    lying = logits.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(_likelihoods(lying), logits.softmax(dim=1))
    assert torch.equal(_likelihoods(logits), logits.softmax(dim=1))
