import pytest

torch = pytest.importorskip("torch")

from dannet_core.errors import DannetError, ImageError  # noqa: E402 - after the skip
from dannet_core.formats.label_png import read_label_png  # noqa: E402
from dannet_core.networks.weights import load_metadata, load_weights, save_weights  # noqa: E402
from dannet_core.training.checkpoint import read_checkpoint  # noqa: E402
from dannet_core.training.distillation import Distillation, distillation_loss  # noqa: E402
from dannet_core.training.distributed import Processes  # noqa: E402
from dannet_core.training.domain_step import Part, StepResult  # noqa: E402
from dannet_core.training.feed import open_feed  # noqa: E402
from dannet_core.training.guide import Guide  # noqa: E402
from dannet_core.training.precision import Precision  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402
from dannet_core.training.run_parts import build_adaptation  # noqa: E402
from dannet_core.training.start_labels import FOLDER  # noqa: E402
from dannet_core.training.step_inputs import StepInputs  # noqa: E402

CPU = torch.device("cpu")


def test_the_loss_is_the_divergence_where_no_label_contradicts():
    believed = torch.tensor([[[[2.0, 2.0, 2.0]], [[0.0, 0.0, 0.0]]]])
    logits = torch.zeros(1, 2, 1, 3, requires_grad=True)
    likely = torch.sigmoid(torch.tensor(2.0))
    divergence = float(likely * (2 * likely).log() + (1 - likely) * (2 * (1 - likely)).log())
    one = distillation_loss(logits, believed, torch.tensor([[[0, 255, 1]]]))
    assert float(one.detach()) == pytest.approx(divergence)
    one.backward()
    assert logits.grad[..., :2].abs().min() > 0
    assert not logits.grad[..., 2].any()

    logits.grad = None
    nothing = distillation_loss(logits, believed, torch.ones(1, 1, 3, dtype=torch.int64))
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert not logits.grad.any()
    assert float(distillation_loss(believed, believed, torch.full((1, 1, 3), 255))) == pytest.approx(0, abs=1e-7)


def test_two_predictions_of_different_shape_are_refused():
    with pytest.raises(ImageError, match="distillation"):
        distillation_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4))


class Brightness(torch.nn.Module):
    """Says class 1 where a picture is bright."""

    align_corners = True

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(3)

    def at_stride(self, images):
        bright = self.norm(images).mean(dim=1, keepdim=True)
        return images, torch.cat([-bright, bright], dim=1), None


def test_the_guide_sees_the_day_and_the_network_is_held_to_it_whatever_it_saw():
    day = torch.full((2, 3, 4, 4), 3.0)
    guide = Guide(Brightness(), Precision("fp32", CPU))
    inputs = StepInputs(day, torch.full((2, 4, 4), 255), day, day * 0, (4, 4), [], 0, (0, 1))
    part = Part(inputs, StepResult(), 1.0)
    term = Distillation(guide, 2.0)
    dark = torch.zeros(2, 2, 4, 4)
    expected = distillation_loss(dark, guide.logits(day), inputs.labels)
    assert float(expected) > 0.5
    assert float(term.loss(part, dark)) == pytest.approx(2 * float(expected))
    assert float(part.result.losses["distillation"]) == pytest.approx(float(expected))
    assert float(term.loss(part, guide.logits(day))) == pytest.approx(0, abs=1e-6)


def test_the_guide_keeps_its_own_statistics_and_does_not_move():
    net = Brightness().train()
    guide = Guide(net, Precision("fp32", CPU))
    guide.logits(torch.randn(2, 3, 4, 4) + 5)
    assert not guide.net.training
    assert not any(parameter.requires_grad for parameter in guide.net.parameters())
    assert not guide.net.norm.running_mean.any()
    assert net.training


@pytest.fixture
def start(tiny_run, tmp_path):
    return run_training(tiny_run(run_dir=tmp_path / "pre", optimiser__steps=2, optimiser__lr=0.05), "pretrain")


WITH = {
    "beyond__distillation": 1.0,
    "beyond__teacher": 0.9,
    "beyond__mixing": 1.0,
    "beyond__night_labels": "fused_guide",
    "loss__target_losses": False,
    "model__relighting_width": 0,
}


def test_a_run_with_a_larger_teacher_resumes_to_the_bit_though_the_files_weights_changed(tiny_run, tmp_path, start):
    larger = tmp_path / "larger.safetensors"
    net, metadata = load_weights(start), load_metadata(start)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.1)
    save_weights(net, larger, metadata)
    settings = WITH | {"init": start, "beyond__larger_teacher": larger}
    config = tiny_run(**settings)
    last = run_training(config, "train")
    assert '"distillation"' in (config.run_dir / "metrics.jsonl").read_text()
    whole = load_weights(last).state_dict()
    plain = tiny_run(**WITH | {"init": start, "run_dir": tmp_path / "plain"})
    other = load_weights(run_training(plain, "train")).state_dict()
    assert any(not torch.equal(whole[key], other[key]) for key in whole)

    assert set(read_checkpoint(config.run_dir / "checkpoints" / "step_00000002.pt")["guides"]) == {"larger"}
    (config.run_dir / "checkpoints" / "step_00000004.pt").unlink()  # as if killed after step 2
    save_weights(load_weights(start), larger, metadata)
    start.unlink()
    again = run_training(tiny_run(**settings, resume=True), "train")
    torch.testing.assert_close(load_weights(again).state_dict(), whole, rtol=0, atol=0)


def test_the_guide_labels_the_day_and_the_teacher_the_night(tiny_run, start):
    config = tiny_run(**WITH | {"init": start})
    alone = Processes(0, 1, CPU)
    feed = open_feed(config, "train", alone)
    torch.manual_seed(0)
    adaptation = build_adaptation(config, "train", feed.class_shares, alone)
    guide = adaptation.guides.day
    assert guide is not None
    assert adaptation.guides.larger is None
    seen = []
    guide.net.register_forward_pre_hook(lambda *_: seen.append("whole"))
    guide.net.segmentation.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    inputs = next(feed.inputs(0, 1))
    adaptation.step.adapt(Part(inputs, StepResult(), 1.0))
    assert len(seen) == 2
    for images in (inputs.day, inputs.source):
        assert any(torch.equal(images, one) for one in seen)


def test_a_larger_teacher_also_labels_the_day_of_a_run_without_labels(tiny_run, tmp_path, start):
    larger = tmp_path / "larger.safetensors"
    net, metadata = load_weights(start), load_metadata(start)
    with torch.no_grad():
        net.segmentation.low_classifier.bias[7] += 1000  # whatever it sees
    save_weights(net, larger, metadata)
    config = tiny_run(
        data__source=None, init=start, beyond__larger_teacher=larger, beyond__certain_start=0.0, optimiser__steps=1
    )
    run_training(config, "train")
    maps = [read_label_png(path, "train_ids") for path in (config.run_dir / FOLDER).rglob("*.png")]
    assert maps
    assert all((labels == 7).all() for labels in maps)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"beyond__distillation": 1.0}, "set init, a model that knows the day"),
        ({"beyond__feature_distance": 1.0}, "set init, a model that knows the day"),
        ({"beyond__larger_teacher": "x.safetensors"}, "nothing asks it: set beyond.distillation"),
        ({"beyond__distillation": 1.0, "beyond__larger_teacher": "none.safetensors"}, "none.safetensors"),
    ],
)
def test_what_cannot_be_asked_is_named(tiny_run, changes, said):
    config = tiny_run(**changes)
    with pytest.raises(DannetError, match=said) as caught:
        run_training(config, "train")
    assert "\n" not in str(caught.value)
