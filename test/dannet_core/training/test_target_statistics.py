import pytest

torch = pytest.importorskip("torch")

from dannet_core.networks import build_dannet  # noqa: E402 - after the skip
from dannet_core.networks.weights import load_metadata, load_weights  # noqa: E402
from dannet_core.training.checkpoint import read_checkpoint  # noqa: E402
from dannet_core.training.distributed import Processes  # noqa: E402
from dannet_core.training.feed import open_feed  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402
from dannet_core.training.run_parts import build_adaptation  # noqa: E402
from dannet_core.training.target_statistics import estimate_statistics  # noqa: E402


def batches(count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(2, 3, 64, 64, generator=generator) * 0.3 - 1.5 for _ in range(count)]


def test_the_first_norm_gets_the_mean_over_the_batches_and_nothing_else_changes():
    torch.manual_seed(0)
    net = build_dannet("lraspp", relighting_width=4).train()
    weights = {name: value.clone() for name, value in net.named_parameters()}
    momenta = [m.momentum for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    estimate_statistics(net, batches())
    first, norm = _first_two(net)
    padded = torch.nn.ReflectionPad2d(3)
    means = torch.stack([first(padded(x)).mean(dim=(0, 2, 3)) for x in batches()])
    torch.testing.assert_close(norm.running_mean, means.mean(dim=0).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dict(net.named_parameters()), weights)
    assert net.training
    assert [m.momentum for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)] == momenta


def _first_two(net: torch.nn.Module) -> list[torch.nn.Module]:
    kinds = (torch.nn.Conv2d, torch.nn.BatchNorm2d)
    return [next(m for m in net.relighting.modules() if isinstance(m, kind)) for kind in kinds]


def test_a_run_fits_the_statistics_only_where_it_is_asked_to(tiny_run, tmp_path):
    runs = [tiny_run(run_dir=tmp_path / str(n), optimiser__steps=1, optimiser__target_statistics=n) for n in (0, 2)]
    plain, fitted = (load_weights(run_training(run, "train")) for run in runs)
    torch.testing.assert_close(dict(plain.named_parameters()), dict(fitted.named_parameters()))
    name = next(name for name, _ in plain.named_buffers() if name.endswith("running_mean"))
    assert not torch.equal(plain.get_buffer(name), fitted.get_buffer(name))


FIRST = (torch.nn.Conv2d, torch.nn.BatchNorm2d)
BEYOND = {
    "loss__target_losses": False,
    "beyond__teacher": 0.9,
    "beyond__mixing": 1.0,
    "beyond__darkening": 0.75,
    "beyond__one_batch": True,
    "beyond__statistics": 2,
}


@pytest.mark.parametrize("ingredients", [{"optimiser__target_statistics": 2}, BEYOND], ids=["night", "beyond"])
def test_a_resumed_run_that_fits_statistics_is_the_uninterrupted_one(tiny_run, ingredients):
    changes = ingredients | {"optimiser__steps": 2, "watch__checkpoint_every": 1, "watch__keep": 9}
    last = run_training(tiny_run(**changes), "train")
    whole = load_weights(last).state_dict()
    last.unlink()
    (last.parent / "checkpoints" / "step_00000002.pt").unlink()
    resumed = load_weights(run_training(tiny_run(resume=True, **changes), "train")).state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_statistics_of_day_and_night_are_of_both_in_one_batch(tiny_run, tmp_path):
    changes = {"loss__target_losses": False, "beyond__darkening": 0.5, "optimiser__steps": 1}
    runs = [tiny_run(run_dir=tmp_path / str(n), beyond__statistics=n, **changes) for n in (0, 3)]
    plain, fitted = (load_weights(run_training(run, "train")) for run in runs)
    torch.testing.assert_close(dict(plain.named_parameters()), dict(fitted.named_parameters()))

    alone = Processes(0, 1, torch.device("cpu"))
    feed = open_feed(runs[1], "train", alone)
    step = build_adaptation(runs[1], "train", feed.class_shares, alone).step
    pictures = [step.day_and_night(inputs) for inputs in feed.inputs(1, 4)]
    assert [tuple(batch.shape) for batch in pictures] == [(4, 3, 64, 64)] * 3  # two of each, of the smaller crop
    first, norm = _first_two(fitted)
    padded = torch.nn.ReflectionPad2d(3)
    means = torch.stack([first(padded(batch)).mean(dim=(0, 2, 3)) for batch in pictures])
    torch.testing.assert_close(norm.running_mean, means.mean(dim=0).detach(), rtol=1e-4, atol=1e-5)


def test_statistics_of_pairs_are_of_the_finished_blend(tiny_run, tmp_path):
    start = run_training(tiny_run(run_dir=tmp_path / "pre", optimiser__steps=1, optimiser__lr=0.05), "pretrain")
    config = tiny_run(
        init=start,
        loss__target_losses=False,
        beyond__blend=1,
        beyond__statistics=3,
        beyond__statistics_of="pairs",
        model__relighting_width=0,
    )
    last = run_training(config, "train")
    saved = load_weights(last)
    state = read_checkpoint(config.run_dir / "checkpoints" / "step_00000004.pt")
    share = float(load_metadata(last).source.split(", ")[-1].split()[0])
    for name, tensor in saved.named_parameters():
        expected = torch.lerp(state["start"][name], state["net"][name], share)
        torch.testing.assert_close(tensor.detach(), expected, rtol=0, atol=0)

    feed = open_feed(config, "train", Processes(0, 1, torch.device("cpu")))
    pictures = [torch.cat([inputs.day, inputs.night]) for inputs in feed.inputs(4, 7)]
    first, norm = (next(m for m in saved.modules() if isinstance(m, kind)) for kind in FIRST)
    means = torch.stack([first(batch).mean(dim=(0, 2, 3)) for batch in pictures])
    torch.testing.assert_close(norm.running_mean, means.mean(dim=0).detach(), rtol=1e-4, atol=1e-5)


def test_statistics_of_whole_pictures_are_of_one_by_day_and_two_by_night_as_the_model_will_see_them(tiny_run, tmp_path):
    start = run_training(tiny_run(run_dir=tmp_path / "pre", optimiser__steps=1, optimiser__lr=0.05), "pretrain")
    settings = {
        "init": start,
        "loss__target_losses": False,
        "beyond__blend": 1,
        "beyond__blend_least": 0.5,
        "beyond__blend_most": 0.5,
        "beyond__statistics": 3,
        "beyond__statistics_of": "whole",
        "model__relighting_width": 0,
        "model__input_size": (72, 80),
    }
    config = tiny_run(**settings)
    last = run_training(config, "train")
    saved = load_weights(last)
    feed = open_feed(config, "train", Processes(0, 1, torch.device("cpu")))
    pictures = list(feed.whole_pictures(4, 7))
    assert [tuple(batch.shape) for batch in pictures] == [(3, 3, 72, 80)] * 6  # two source pictures a step
    assert not any(torch.equal(batch[1], batch[2]) for batch in pictures)
    first, norm = (next(m for m in saved.modules() if isinstance(m, kind)) for kind in FIRST)
    means = torch.stack([first(batch).mean(dim=(0, 2, 3)) for batch in pictures])
    torch.testing.assert_close(norm.running_mean, means.mean(dim=0).detach(), rtol=1e-4, atol=1e-5)
    assert load_metadata(last).source.split(", ")[-1].startswith("0.5 of it blended with")

    whole = saved.state_dict()
    (config.run_dir / "checkpoints" / "step_00000004.pt").unlink()  # as if killed after step 2
    again = load_weights(run_training(tiny_run(**settings, resume=True), "train")).state_dict()
    torch.testing.assert_close(again, whole, rtol=0, atol=0)


def test_whole_pictures_are_of_their_own_size_where_the_model_has_none(tiny_run):
    feed = open_feed(tiny_run(optimiser__batch_size=1), "train", Processes(0, 1, torch.device("cpu")))
    (batch,) = feed.whole_pictures(0, 1)
    assert tuple(batch.shape) == (3, 3, 96, 128)
    assert torch.equal(batch[1], batch[2])  # a step with one pair has one night picture
    assert batch[0].mean() > batch[1].mean()
