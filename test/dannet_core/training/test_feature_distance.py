import pytest

torch = pytest.importorskip("torch")

from dannet_core.errors import SettingsError  # noqa: E402 - after the skip
from dannet_core.networks.weights import load_weights  # noqa: E402
from dannet_core.training.distributed import Processes  # noqa: E402
from dannet_core.training.domain_step import Part, StepResult  # noqa: E402
from dannet_core.training.feature_distance import FeatureDistance, feature_distance  # noqa: E402
from dannet_core.training.feed import open_feed  # noqa: E402
from dannet_core.training.precision import Precision  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402
from dannet_core.training.run_parts import build_adaptation  # noqa: E402
from dannet_core.training.step_inputs import StepInputs  # noqa: E402

CPU = torch.device("cpu")
FP32 = Precision("fp32", CPU)


def test_the_distance_is_relative_to_the_starts_features_and_of_what_counts():
    start = torch.full((1, 2, 1, 2), 4.0)
    features = torch.tensor([[[[4.0, 6.0]], [[4.0, 6.0]]]], requires_grad=True)
    everything = torch.ones(1, 1, 2, dtype=torch.bool)
    assert float(feature_distance(features, start, everything).detach()) == pytest.approx((0 + 4) / 2 / 16)
    assert float(feature_distance(features * 10, start * 10, everything).detach()) == pytest.approx(4 / 2 / 16)
    second = torch.tensor([[[False, True]]])
    assert float(feature_distance(features, start, second).detach()) == pytest.approx(4 / 16)
    nothing = feature_distance(features, start, ~everything)
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert not features.grad.any()


class Staged(torch.nn.Module):
    """A backbone of two stages, a factor times the picture and its halves."""

    def __init__(self, factor):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))
        self.backbone = torch.nn.Identity()
        self.backbone.forward = lambda x: [x * self.factor, torch.nn.functional.avg_pool2d(x, 2) * self.factor]

    def at_stride(self, images):
        first, _ = self.backbone(images)
        return images, first, None


def staged_part(labels):
    day = torch.ones(2, 3, 4, 4)
    return Part(StepInputs(day, labels, day, day, (4, 4), [], 0, (0, 1)), StepResult(), 1.0)


def test_the_sources_features_by_whatever_light_are_held_to_the_starts_by_day():
    net, start = Staged(1.0), Staged(2.0)
    term = FeatureDistance(start, net, "backbone", weight=3.0, precision=FP32)
    part = staged_part(torch.zeros(2, 4, 4, dtype=torch.int64))
    dark_and_mixed = torch.cat([torch.ones(2, 3, 4, 4) * 0.5, torch.full((2, 3, 4, 4), 100.0)])
    with term.watched():
        _, logits, _ = net.at_stride(dark_and_mixed)
    loss = term.loss(part, logits[:2])
    assert float(loss.detach()) == pytest.approx(3 * (1.5 / 2) ** 2)
    loss.backward()
    assert float(net.factor.grad) < 0
    assert start.factor.grad is None
    assert not net.backbone._forward_hooks


def test_of_what_moves_only_the_labelled_pixels_count():
    net, start = Staged(1.0), Staged(2.0)
    term = FeatureDistance(start, net, "backbone", weight=1.0, precision=FP32, static_classes=(0, 1))
    labels = torch.tensor([0, 1, 2, 255]).repeat(2, 4, 1)
    images = torch.ones(2, 3, 4, 4)
    images[..., :2] = 50  # where a static class stands, and is not looked at
    images[..., 3] = 50
    with term.watched():
        _, logits, _ = net.at_stride(images)
    first_stage = (1 - 2.0) ** 2 / 2.0**2
    assert float(term.loss(staged_part(labels), logits).detach()) == pytest.approx(first_stage / 2)


@pytest.fixture
def start(tiny_run, tmp_path):
    return run_training(tiny_run(run_dir=tmp_path / "pre", optimiser__steps=2, optimiser__lr=0.05), "pretrain")


@pytest.mark.parametrize("classes", ["all", "moving"])
def test_a_run_holds_its_features_and_leaves_no_trace_in_the_network(tiny_run, start, classes):
    settings = {
        "init": start,
        "model__relighting_width": 0,
        "loss__target_losses": False,
        "beyond__feature_distance": 1.0,
        "beyond__feature_classes": classes,
    }
    config = tiny_run(**settings)
    alone = Processes(0, 1, CPU)
    feed = open_feed(config, "train", alone)
    adaptation = build_adaptation(config, "train", feed.class_shares, alone)
    inputs = next(feed.inputs(0, 1))
    result = StepResult()
    adaptation.step.adapt(Part(inputs, result, 1.0))
    assert set(result.losses) == {"segmentation", "feature_distance"}
    assert float(result.losses["feature_distance"]) >= 0
    assert not any(module._forward_hooks for module in adaptation.networks.net.modules())

    whole = load_weights(run_training(config, "train")).state_dict()
    (config.run_dir / "checkpoints" / "step_00000004.pt").unlink()  # as if killed after step 2
    start.unlink()
    again = run_training(tiny_run(**settings, resume=True), "train")
    torch.testing.assert_close(load_weights(again).state_dict(), whole, rtol=0, atol=0)


def test_a_compiled_network_hides_its_features(tiny_run, start):
    config = tiny_run(init=start, beyond__feature_distance=1.0, optimiser__compile=True)
    with pytest.raises(SettingsError, match=r"beyond.feature_distance, optimiser.compile: .* set one off"):
        run_training(config, "train")
