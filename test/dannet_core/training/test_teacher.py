import pytest

torch = pytest.importorskip("torch")

from dannet_core.networks import build_dannet  # noqa: E402 - after the skip
from dannet_core.networks.weights import load_metadata, load_weights  # noqa: E402
from dannet_core.training.checkpoint import read_checkpoint  # noqa: E402
from dannet_core.training.recipe import run_training  # noqa: E402
from dannet_core.training.teacher import Teacher  # noqa: E402


def moved(net: torch.nn.Module, by: float) -> torch.nn.Module:
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.add_(by) if tensor.is_floating_point() else tensor.add_(7)
    return net


def test_the_teacher_is_the_mean_of_all_networks_until_the_limit():
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    teacher = Teacher(net, 0.75)
    assert [teacher.decay(step) for step in (1, 2, 3, 4, 99)] == pytest.approx([1 / 2, 2 / 3, 3 / 4, 3 / 4, 3 / 4])
    start = [tensor.clone() for tensor in (*net.parameters(), *net.buffers()) if tensor.is_floating_point()]
    for step in (1, 2, 3):  # networks that are 0, 1, 2 and 3 away from the start
        teacher.follow(moved(net, 1.0), step)
    averaged = [t for t in (*teacher.net.parameters(), *teacher.net.buffers()) if t.is_floating_point()]
    torch.testing.assert_close(averaged, [tensor + 1.5 for tensor in start])
    teacher.follow(moved(net, 1.0), 4)
    torch.testing.assert_close(averaged, [tensor + 0.75 * 1.5 + 0.25 * 4 for tensor in start])
    assert int(teacher.net[1].num_batches_tracked) == 4 * 7  # a count is not averaged
    assert not any(parameter.requires_grad for parameter in teacher.net.parameters())


def test_pseudo_labels_use_the_batchs_own_statistics_and_remember_none():
    torch.manual_seed(0)
    net = build_dannet("lraspp", relighting_width=4)
    teacher = Teacher(net, 0.9)
    before = [buffer.clone() for buffer in teacher.net.buffers()]
    images = torch.randn(2, 3, 64, 96)
    logits = teacher.logits(images, (64, 96))
    assert not logits.requires_grad
    torch.testing.assert_close(list(teacher.net.buffers()), before, rtol=0, atol=0)
    with torch.no_grad():
        expected = net.train()(images).logits
        other = teacher.net(images).logits
    torch.testing.assert_close(logits, expected)
    assert float((other - expected).abs().max()) > 1e-3
    assert not any(module.training for module in teacher.net.modules())


def test_where_the_networks_norms_are_frozen_the_teachers_are_too():
    torch.manual_seed(0)
    net = build_dannet("lraspp", relighting_width=4)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = net.eval()(images).logits
    torch.testing.assert_close(Teacher(net, 0.9, frozen_norms=True).logits(images, (64, 96)), expected)
    assert float((Teacher(net, 0.9).logits(images, (64, 96)) - expected).abs().max()) > 1e-3


def test_the_teacher_is_saved_and_a_resumed_run_is_the_uninterrupted_one_to_the_bit(tiny_run, tmp_path):
    def run(name: str, **changes: object):
        return tiny_run(run_dir=tmp_path / name, beyond__teacher=0.9, **changes)

    last = run_training(run("whole"), "train")
    half = run("half")
    run_training(half, "train")
    (half.run_dir / "checkpoints" / "step_00000004.pt").unlink()  # as if killed after step 2
    resumed = run_training(run("half", resume=True), "train")
    first, second = (read_checkpoint(path.parent / "checkpoints" / "step_00000004.pt") for path in (last, resumed))
    for part in ("net", "teacher", "discriminators", "optimisers", "rng"):
        torch.testing.assert_close(first[part], second[part], rtol=0, atol=0)
    saved = load_weights(last).state_dict()
    torch.testing.assert_close(saved, first["teacher"], rtol=0, atol=0)
    assert any(not torch.equal(saved[key], first["net"][key]) for key in saved)
    assert load_metadata(last).source.endswith("seed 0, averaged weights")
