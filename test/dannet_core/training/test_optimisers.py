import pytest

torch = pytest.importorskip("torch")

from dannet_core.networks import build_dannet  # noqa: E402 - after the skip
from dannet_core.training.optimisers import Rates, generator_optimiser, poly_decay, set_learning_rate  # noqa: E402


def test_the_rate_decays_from_one_to_zero_as_the_polynomial():
    assert poly_decay(0, 100, 0.9) == 1.0
    assert poly_decay(100, 100, 0.9) == 0.0
    assert poly_decay(50, 100, 0.9) == pytest.approx(0.5**0.9)


def test_rates_are_shares_of_the_first_one_however_often_set():
    optimiser = generator_optimiser(torch.nn.Linear(2, 2), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for share in (0.5, 0.25, 0.5):
        set_learning_rate([optimiser], share)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.05)


def test_frozen_weights_are_left_out():
    net = build_dannet("deeplabv2", backbone="resnet18")
    frozen = {id(p) for p in net.parameters() if not p.requires_grad}
    moved = {id(p) for group in generator_optimiser(net, 0.1, 0.9, 0.0).param_groups for p in group["params"]}
    assert frozen
    assert not frozen & moved


@pytest.mark.parametrize("width", [4, 0])
def test_the_relighting_network_may_learn_at_a_rate_of_its_own(width):
    net = build_dannet("lraspp", relighting_width=width)
    optimiser = generator_optimiser(net, 0.1, 0.9, 0.0, lr_relighting=0.02)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in net.segmentation.parameters()} == {0.1}
    assert {rates[id(p)] for p in net.relighting.parameters()} == ({0.02} if width else set())
    assert len(rates) == len(list(net.parameters()))


def test_backbone_head_and_relighting_learn_at_three_rates():
    net = build_dannet("lraspp", relighting_width=4)
    optimiser = generator_optimiser(net, Rates(0.1, 0.02, 0.5, ("low.", "high.")), 0.9, 0.0, kind="adamw")
    assert isinstance(optimiser, torch.optim.AdamW)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    segmentation = net.segmentation
    for part, rate in (("low", 0.1), ("high", 0.1), ("project", 0.5), ("low_classifier", 0.5)):
        assert {rates[id(p)] for p in getattr(segmentation, part).parameters()} == {rate}
    assert {rates[id(p)] for p in net.relighting.parameters()} == {0.02}
    assert len(rates) == len(list(net.parameters()))


def test_adamw_takes_the_step_of_its_paper():
    net = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(2.0)
    optimiser = generator_optimiser(net, lr=0.1, momentum=0.9, weight_decay=0.5, kind="adamw")
    net.weight.grad = torch.tensor([[3.0]])
    optimiser.step()
    assert float(net.weight.detach()) == pytest.approx(
        2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6
    )  # the first step is lr long
