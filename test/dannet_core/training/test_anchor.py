import copy

import pytest

torch = pytest.importorskip("torch")

from dannet_core.errors import SettingsError  # noqa: E402 - after the skip
from dannet_core.networks import DANNet  # noqa: E402
from dannet_core.networks.relighting import NoRelighting  # noqa: E402
from dannet_core.networks.weights import load_weights  # noqa: E402
from dannet_core.training.anchor import Anchor, AnchoredForward  # noqa: E402
from dannet_core.training.distributed import Processes  # noqa: E402
from dannet_core.training.domain_step import Part, StepResult  # noqa: E402
from dannet_core.training.feed import open_feed  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402
from dannet_core.training.run_parts import build_adaptation  # noqa: E402
from dannet_core.training.target_statistics import estimate_statistics  # noqa: E402

FEW = {"rtol": 1e-3, "atol": 1e-4}


def pictures(brightness: float, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 3, 96, 96, generator=generator) * 0.4 + brightness


class Stages(torch.nn.Module):
    """Two convolutions with their norms, smooth so that no channel dies, and a classifier."""

    def __init__(self):
        super().__init__()
        layers = [(3, 8), (8, 8)]
        self.layers = torch.nn.Sequential(
            *(
                torch.nn.Sequential(torch.nn.Conv2d(a, b, 3, 2, 1), torch.nn.BatchNorm2d(b), torch.nn.Softplus())
                for a, b in layers
            ),
            torch.nn.Conv2d(8, 5, 1),
        )

    def forward(self, x):
        return self.layers(x), None


@pytest.fixture
def start():
    """A network whose running statistics are those of bright pictures."""
    torch.manual_seed(0)
    net = DANNet(NoRelighting(), Stages()).eval().requires_grad_(False)
    with torch.no_grad():
        for norm in norms(net):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.3, 0.3)
    estimate_statistics(net, [pictures(0.5, seed) for seed in range(3)])
    return net


def norms(net):
    return [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]


def logits(net, images):
    return net.at_stride(images)[1]


@pytest.mark.parametrize("brightness", [0.5, -1.5], ids=["day", "night"])
def test_what_learned_nothing_sees_every_batch_as_the_start_does(start, brightness):
    net, images = copy.deepcopy(start), pictures(brightness)
    expected = logits(start, images)
    with Anchor(start).batch_statistics(net):
        torch.testing.assert_close(logits(net, images), expected, **FEW)
    torch.testing.assert_close(net.state_dict(), start.state_dict(), rtol=0, atol=0)


def test_what_only_moves_or_scales_what_a_norm_is_given_is_normalised_away(start):
    net, images = copy.deepcopy(start), pictures(-1.0)
    first = next(module for module in net.modules() if isinstance(module, torch.nn.Conv2d))
    with torch.no_grad():
        first.weight.mul_(2)
    expected = logits(start, images)
    with torch.no_grad():
        assert not torch.allclose(logits(net, images), expected, **FEW)
        with Anchor(start).batch_statistics(net):
            torch.testing.assert_close(logits(net, images), expected, **FEW)


def test_gradients_flow_through_the_batchs_statistics(start):
    net = copy.deepcopy(start).requires_grad_(True)
    norm = norms(net)[0]
    norm.train()
    images = pictures(-1.0)
    with Anchor(start).around(net):
        logits(net, images).square().mean().backward()
    conv = next(module for module in net.modules() if isinstance(module, torch.nn.Conv2d))
    assert norm.weight.grad.abs().max() > 0
    # Along its own direction a filter has no gradient: its scale does not matter.
    along = (conv.weight.grad * conv.weight.detach()).sum(dim=(1, 2, 3)).abs()
    across = (conv.weight.grad.norm() * conv.weight.detach().norm()).abs()
    assert float(along.max() / across) < 1e-3


def test_a_network_that_learned_nothing_settles_on_the_starts_statistics(start):
    net = copy.deepcopy(start)
    Anchor(start).settle(net, [pictures(0.4), pictures(-1.5, seed=9)])
    torch.testing.assert_close(net.state_dict(), start.state_dict(), rtol=1e-4, atol=1e-5)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert not any(module._forward_pre_hooks for module in start.modules())
    assert not any(module.training for module in net.modules())


def test_a_settled_network_does_alone_what_it_did_anchored(start):
    net, images = copy.deepcopy(start), pictures(-1.0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1 + 0.05 * torch.randn(parameter.shape, generator=generator))
    anchor = Anchor(start)
    with torch.no_grad(), anchor.batch_statistics(net):
        expected = logits(net, images)
    anchor.settle(net, [images])
    torch.testing.assert_close(logits(net, images), expected, **FEW)
    other = copy.deepcopy(net)
    estimate_statistics(other, [images])  # of the night alone: another network
    assert not torch.allclose(logits(other, images), expected, rtol=0.1, atol=0.1)


def test_the_forward_pass_of_a_step_is_anchored(start):
    net, images = copy.deepcopy(start), pictures(-1.5)

    class Plain(torch.nn.Module):
        def forward(self, images, size):
            assert size == (96, 96)
            return net.at_stride(images)

    net.train()
    anchored = AnchoredForward(Plain(), Anchor(start), net)
    torch.testing.assert_close(anchored(images, (96, 96))[1], logits(start, images), **FEW)


ANCHORED = {
    "model__relighting_width": 0,
    "loss__target_losses": False,
    "beyond__teacher": 0.9,
    "beyond__mixing": 1.0,
    "beyond__one_batch": True,
    "beyond__anchored": True,
    "beyond__blend": 1,
    "beyond__statistics": 2,
    "beyond__statistics_of": "pairs",
}


@pytest.fixture
def pretrained(tiny_run, tmp_path):
    return run_training(tiny_run(run_dir=tmp_path / "pre", optimiser__steps=2, optimiser__lr=0.05), "pretrain")


def test_the_first_loss_of_a_run_is_the_starts_own(tiny_run, pretrained):
    config = tiny_run(init=pretrained, **ANCHORED)
    alone = Processes(0, 1, torch.device("cpu"))
    feed = open_feed(config, "train", alone)
    adaptation = build_adaptation(config, "train", feed.class_shares, alone)
    inputs, result = next(feed.inputs(0, 1)), StepResult()
    adaptation.step.adapt(Part(inputs, result, 1.0))
    net = load_weights(pretrained).eval()
    with torch.no_grad():
        expected = net(inputs.source).logits.argmax(dim=1)
    agreement = (result.labels["source"] == expected).float().mean()
    assert float(agreement) > 0.99
    assert not any(module._forward_hooks for module in adaptation.networks.net.modules())


def test_a_run_is_resumed_to_the_bit_without_its_start(tiny_run, pretrained):
    config = tiny_run(init=pretrained, **ANCHORED)
    whole = load_weights(run_training(config, "train")).state_dict()
    (config.run_dir / "checkpoints" / "step_00000004.pt").unlink()  # as if killed after step 2
    pretrained.unlink()
    again = run_training(tiny_run(init=pretrained, **ANCHORED, resume=True), "train")
    torch.testing.assert_close(load_weights(again).state_dict(), whole, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimiser__compile": True}, r"beyond.anchored, optimiser.compile: .* set one off"),
        ({"optimiser__freeze_batch_norm": True}, r"beyond.anchored, optimiser.freeze_batch_norm: .* set one off"),
        ({"optimiser__sync_batch_norm": True}, r"beyond.anchored, optimiser.sync_batch_norm: .* set one off"),
        ({"beyond__statistics": 0}, r"beyond.anchored: got beyond.statistics 0 of pairs, expected some of pairs"),
        ({"beyond__statistics_of": "source"}, r"got beyond.statistics 2 of source, expected some of pairs"),
    ],
)
def test_what_does_not_go_with_it_is_refused(tiny_run, pretrained, change, message):
    with pytest.raises(SettingsError, match=message) as caught:
        run_training(tiny_run(init=pretrained, **(ANCHORED | change)), "train")
    assert "\n" not in str(caught.value)


def test_there_is_nothing_to_be_anchored_at_without_a_start(tiny_run):
    with pytest.raises(SettingsError, match=r"beyond.anchored .* hold to what init knows: set init"):
        run_training(tiny_run(**ANCHORED), "train")
