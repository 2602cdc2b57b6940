import pytest

torch = pytest.importorskip("torch")

from dannet_core.errors import SettingsError  # noqa: E402 - after the skip
from dannet_core.networks.weights import load_metadata, load_weights  # noqa: E402
from dannet_core.training.blending import Blend, Blender, blended, mean_iou  # noqa: E402
from dannet_core.training.checkpoint import read_checkpoint  # noqa: E402
from dannet_core.training.distributed import Processes  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402
from dannet_core.training.step_inputs import StepInputs  # noqa: E402


class Pixelwise(torch.nn.Module):
    """Three classes out of three channels."""

    align_corners = True

    def __init__(self, slope, bias):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(float(slope)))
        self.bias = torch.nn.Parameter(torch.tensor(bias).view(3, 1, 1))

    def at_stride(self, images):
        return images, images * self.slope + self.bias, None


def inputs() -> StepInputs:
    labels = torch.arange(3).repeat(8, 4)[None]
    day = torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    night = day * 0.05 + torch.tensor([0.0, 0.0, 0.1]).view(3, 1, 1)  # everything looks like class 2
    return StepInputs(day, labels, day, night, (8, 12), [])


def blend(adapted, least=0.0, most=1.0):
    start = Pixelwise(10.0, [0.0, 0.0, 0.0])
    blender = Blender(start, 0.9, (0, 1), Processes(0, 1, torch.device("cpu")), (least, most))
    return blender.blend(adapted, [inputs(), inputs()])


def test_weights_and_statistics_are_averaged_and_counts_are_not():
    first, second = (torch.nn.BatchNorm2d(2) for _ in range(2))
    with torch.no_grad():
        for norm, value in ((first, 1.0), (second, 5.0)):
            for tensor in norm.state_dict().values():
                tensor.fill_(value)
    state = blended(first, second, 0.25).state_dict()
    assert state.pop("num_batches_tracked") == 5
    assert all((tensor == 2.0).all() for tensor in state.values())
    assert (first.weight == 1.0).all()
    assert (second.weight == 5.0).all()


def test_what_learned_the_night_and_kept_the_day_is_taken_whole():
    chosen = blend(Pixelwise(10.0, [0.0, 0.0, -0.75]))
    assert (chosen.share, chosen.score) == (1.0, 1.0)


def test_what_forgot_the_day_is_held_back():
    chosen = blend(Pixelwise(-10.0, [0.0, 0.0, 0.0]))
    assert chosen.share == 0.4
    assert float(chosen.net.slope) == pytest.approx(2.0)


def test_no_less_is_adapted_than_asked_for():
    """What has forgotten the day at every share that is left is of equal worth at each: the most adapted is taken."""
    forgetful = Pixelwise(-10.0, [0.0, 0.0, 0.0])
    assert blend(forgetful, least=0.4).share == 0.4
    assert blend(forgetful, least=0.55).share == 1.0


def test_no_more_is_adapted_than_allowed():
    perfect = Pixelwise(10.0, [0.0, 0.0, -0.75])
    assert blend(perfect, most=0.55).share == 0.55
    assert blend(perfect, least=0.4, most=0.4).share == 0.4
    assert blend(perfect, least=0.5, most=0.5).share == 0.5
    with pytest.raises(SettingsError, match=r"blend_most: got 0.6 and 0.65, expected one of 0.4, 0.55, 0.7, 0.85, 1"):
        blend(perfect, least=0.6, most=0.65)


def test_mean_iou_counts_the_classes_that_the_reference_has():
    confusion = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    assert mean_iou(confusion) == pytest.approx((3 / 4 + 2 / 5) / 2)
    assert mean_iou(torch.zeros(3, 3)) == 0.0


class Normed(Pixelwise):
    """The same behind a batch norm, whose statistics a blend gets wrong when it averages them."""

    def __init__(self, slope, bias):
        super().__init__(slope, bias)
        self.norm = torch.nn.BatchNorm2d(3)

    def at_stride(self, images):
        return super().at_stride(self.norm(images))


def test_a_refitted_blend_has_statistics_of_day_and_night_and_is_scored_with_them():
    start, adapted = Normed(10.0, [0.0, 0.0, 0.0]), Normed(10.0, [0.0, 0.0, 0.0])
    alone = Processes(0, 1, torch.device("cpu"))
    given = inputs()
    both = torch.cat([given.day, given.night])
    chosen = Blender(start, 0.9, (0, 1), alone, refitted=True).blend(adapted, [given, given])
    torch.testing.assert_close(chosen.net.norm.running_mean, both.mean(dim=(0, 2, 3)))
    assert not chosen.net.norm.training
    plain = Blender(start, 0.9, (0, 1), alone).blend(adapted, [given, given])
    assert not plain.net.norm.running_mean.any()
    assert chosen.score != plain.score


@pytest.fixture
def start(tiny_run, tmp_path):
    return run_training(tiny_run(run_dir=tmp_path / "pre", optimiser__steps=1, optimiser__lr=0.05), "pretrain")


def test_the_blend_is_saved_and_a_resumed_run_needs_no_start(tiny_run, start):
    changes = {
        "init": start,
        "beyond__teacher": 0.9,
        "beyond__blend": 1,
        "loss__target_losses": False,
        "crop__target": (64, 64),
    }
    last = run_training(tiny_run(**changes), "train")
    state = read_checkpoint(last.parent / "checkpoints" / "step_00000004.pt")
    said = load_metadata(last).source
    assert f" of it blended with {start}" in said
    share = float(said.split(", ")[-1].split()[0])
    saved = load_weights(last).state_dict()
    for key, tensor in saved.items():
        first, adapted = state["start"][key], state["teacher"][key]
        expected = torch.lerp(first, adapted, share) if tensor.is_floating_point() else adapted
        torch.testing.assert_close(tensor, expected, rtol=0, atol=0)
    torch.testing.assert_close(
        state["start"]["segmentation.low.0.0.weight"], load_weights(start).segmentation.low[0][0].weight.detach()
    )
    (last.parent / "checkpoints" / "step_00000004.pt").unlink()  # as if killed after step 2
    start.unlink()
    again = run_training(tiny_run(**changes, resume=True), "train")
    torch.testing.assert_close(load_weights(again).state_dict(), saved, rtol=0, atol=0)


def test_the_run_ends_before_the_decline_and_keeps_the_best(tiny_run, start, monkeypatch, capsys):
    scores = iter([0.5, 0.6, 0.4, 0.3])
    monkeypatch.setattr(Blender, "blend", lambda _, adapted, __: Blend(adapted, 1.0, next(scores, 0.0)))
    changes = {
        "init": start, "loss__target_losses": False, "beyond__blend": 1, "beyond__patience": 2, "optimiser__steps": 9,
        "watch__evaluate_every": 1, "watch__checkpoint_every": 1,
    }  # fmt: skip
    last = run_training(tiny_run(**changes), "train")
    assert load_metadata(last.with_name("best.safetensors")).source.split(": ")[1].startswith("2 steps")
    assert load_metadata(last).source.split(": ")[1].startswith("4 steps")
    assert "ended after step 4: no better blend in 2 evaluations" in capsys.readouterr().out
    run_training(tiny_run(**changes, resume=True), "train")
    assert "ended after step 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"beyond__blend": 1}, "beyond.blend needs init"),
        ({"beyond__patience": 1}, "beyond.patience goes by the scores of blends: set beyond.blend"),
    ],
)
def test_what_a_blend_needs_is_said(tiny_run, changes, said):
    with pytest.raises(SettingsError, match=said):
        run_training(tiny_run(**changes), "train")
