import pytest

torch = pytest.importorskip("torch")

from dannet_core.classes import CITYSCAPES_CLASS_SHARES, reweighting_vector  # noqa: E402 - after the skip
from dannet_core.losses.static import STATIC_VARIANTS  # noqa: E402
from dannet_core.networks import build_dannet  # noqa: E402
from dannet_core.networks.build import build_discriminator  # noqa: E402
from dannet_core.training.config import LossConfig  # noqa: E402
from dannet_core.training.distributed import Processes  # noqa: E402
from dannet_core.training.domain_step import DomainStep, GeneratorForward, Networks, Part, StepResult  # noqa: E402
from dannet_core.training.precision import Precision  # noqa: E402
from dannet_core.training.step_inputs import StepInputs  # noqa: E402

CPU = torch.device("cpu")


def make_inputs(batch: int = 2) -> StepInputs:
    generator = torch.Generator().manual_seed(1)

    def images(height: int, width: int) -> torch.Tensor:
        return torch.randn(batch, 3, height, width, generator=generator)

    labels = torch.randint(0, 19, (batch, 64, 64), generator=generator)
    return StepInputs(images(64, 64), labels, images(64, 96), images(64, 96), (64, 96), ["a", "b"])


def make_step(width: int = 4, **loss: object) -> tuple[DomainStep, Networks]:
    torch.manual_seed(0)
    net = build_dannet("lraspp", relighting_width=width)
    networks = Networks(net, GeneratorForward(net), build_discriminator(), build_discriminator())
    weights = torch.from_numpy(reweighting_vector(CITYSCAPES_CLASS_SHARES, 0.05))
    return DomainStep(networks, LossConfig(**loss), weights, Precision("fp32", CPU), Processes(0, 1, CPU)), networks


def adapt(step: DomainStep, inputs: StepInputs) -> StepResult:
    result = StepResult()
    step.adapt(Part(inputs, result, 1.0))
    return result


def gradient_norm(module: torch.nn.Module) -> float:
    return sum(float(p.grad.abs().sum()) for p in module.parameters() if p.grad is not None)


def test_the_domains_pass_in_the_papers_order():
    step, networks = make_step()
    seen: list[tuple[str, tuple[int, ...]]] = []
    networks.net.register_forward_pre_hook(lambda *_: None)
    networks.net.segmentation.register_forward_hook(lambda _, args, __: seen.append(("G", tuple(args[0].shape))))
    networks.day.register_forward_hook(lambda *_: seen.append(("Dd", ())))
    networks.night.register_forward_hook(lambda *_: seen.append(("Dn", ())))
    adapt(step, make_inputs())
    target, source = ("G", (2, 3, 64, 96)), ("G", (2, 3, 64, 64))
    assert seen == [target, ("Dd", ()), target, ("Dn", ()), source, *[("Dd", ())] * 2, *[("Dn", ())] * 2]


def test_every_term_is_finite_and_every_network_learns():
    step, networks = make_step()
    result = adapt(step, make_inputs())
    assert set(result.losses) == {
        "segmentation", "static", "light_day", "light_night", "light_source",
        "adversarial_day", "adversarial_night", "discriminator_day", "discriminator_night",
    }  # fmt: skip
    assert all(torch.isfinite(value) for value in result.losses.values())
    for module in (networks.net.relighting, networks.net.segmentation, networks.day, networks.night):
        assert gradient_norm(module) > 0


def test_the_generators_losses_leave_the_discriminators_alone_and_the_other_way_round():
    step, networks = make_step(segmentation=0.0, light=0.0, light_source=0.0, static=0.0, adversarial=0.0)
    adapt(step, make_inputs())
    assert gradient_norm(networks.net) == 0
    assert gradient_norm(networks.day) > 0
    adversarial, networks_2 = make_step(segmentation=0.0, light=0.0, light_source=0.0, static=0.0)
    before = [p.clone() for p in networks_2.day.parameters()]
    adapt(adversarial, make_inputs())
    assert gradient_norm(networks_2.net) > 0
    alone = [p.grad.clone() for p in networks.day.parameters()]
    torch.testing.assert_close([p.grad for p in networks_2.day.parameters()], alone)
    torch.testing.assert_close(list(networks_2.day.parameters()), before)


def test_without_the_day_domain_there_are_no_pseudo_labels_and_no_day_discriminator():
    step, networks = make_step(day_domain=False)
    result = adapt(step, make_inputs())
    assert not {"static", "adversarial_day", "discriminator_day", "light_day"} & set(result.losses)
    assert gradient_norm(networks.day) == 0
    assert "pseudo" not in result.labels


def test_without_a_relighting_network_there_is_no_light_loss():
    step, _ = make_step(width=0)
    assert not {name for name in adapt(step, make_inputs()).losses if name.startswith("light")}


def test_labels_that_only_pictures_need_are_made_for_pictures_and_change_nothing():
    (shown, networks), (hidden, others) = make_step(), make_step()
    result, unseen = adapt(shown, make_inputs()), StepResult(is_shown=False)
    hidden.adapt(Part(make_inputs(), unseen, 1.0))
    assert set(result.labels) == {"pseudo", "night", "source"}
    assert set(unseen.labels) == {"pseudo"}
    assert result.losses == unseen.losses
    for one, other in zip(networks.net.parameters(), others.net.parameters(), strict=True):
        assert (one.grad is None and other.grad is None) or torch.equal(one.grad, other.grad)


def test_only_static_classes_are_believed():
    step, _ = make_step()
    pseudo = adapt(step, make_inputs()).labels["pseudo"]
    assert ((pseudo < 11) | (pseudo == 255)).all()


def test_parts_of_a_batch_add_up_to_the_batch_where_batch_norm_stands_still():
    gradients = []
    for count in (1, 2):
        step, networks = make_step(static=0.0)
        networks.net.eval()
        result, inputs = StepResult(), make_inputs()
        inputs.labels[:] = inputs.labels[:1]
        for part in inputs.parts(count):
            part.night = inputs.night[:1] if count == 2 else inputs.night[:1].repeat(2, 1, 1, 1)
            step.adapt(Part(part, result, 1 / count))
        gradients.append([p.grad.clone() for p in networks.net.parameters() if p.grad is not None])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("form", STATIC_VARIANTS)
def test_every_form_of_the_static_loss_is_wired(form):
    step, _ = make_step(static_form=form, pseudo_labels="official")
    assert float(adapt(step, make_inputs()).losses["static"]) > 0


def test_pretraining_touches_the_segmentation_network_only():
    step, networks = make_step(width=0)
    result = StepResult()
    step.pretrain(Part(make_inputs(), result, 1.0))
    assert set(result.losses) == {"segmentation"}
    assert gradient_norm(networks.net.segmentation) > 0
    assert gradient_norm(networks.day) == gradient_norm(networks.night) == 0
