"""What `bench/training_step.py` times, and in which environment."""

import os

import pytest

torch = pytest.importorskip("torch", reason="pip install torch")


class Recorder:
    """In place of a step, an optimiser and a network: keeps the parts that it is given."""

    def __init__(self):
        self.parts = []

    def adapt(self, part):
        self.parts.append(part)

    def __getattr__(self, _name):
        return lambda *_, **__: self


def test_pictures_are_drawn_before_the_clock_starts_and_not_in_a_step(bench_program, monkeypatch):
    program = bench_program("training_step")
    recorder = Recorder()
    for name in ("build_dannet", "build_discriminator", "GeneratorForward", "Precision", "Networks", "DomainStep"):
        monkeypatch.setattr(program, name, lambda *_, **__: recorder)
    for name in ("generator_optimiser", "discriminator_optimiser"):
        monkeypatch.setattr(program, name, lambda *_, **__: recorder)
    options = program.parse(["--source-size", "32", "--target-size", "48"])
    run = program.our_step(options, torch.device("cpu"))
    drawn = []
    monkeypatch.setattr(torch, "randn", lambda *size, **_: drawn.append(size))
    for _ in range(3):
        run()
    assert drawn == []
    first, second, third = (part.inputs for part in recorder.parts)
    assert first.source.shape == (2, 3, 32, 32)
    assert first.labels.shape == (2, 32, 32)
    assert not torch.equal(first.source, second.source)
    assert torch.equal(first.night, third.night)


def test_the_released_side_draws_as_many_beforehand(bench_program, monkeypatch):
    program = bench_program("training_step")
    kind = type("Pairs", (program.RandomPairs,), {"side": 16, "samples_drawn": 4, "with_labels": True})
    pairs = kind(max_iters=10)
    monkeypatch.setattr(torch, "randn", None)
    picture, labels, _, name = pairs[5]
    assert (picture.shape, labels.shape, name) == ((3, 16, 16), (16, 16), "5")
    assert picture is pairs[1][0]
    assert picture is not pairs[2][0]


def test_a_child_keeps_what_the_caller_has_on_the_path(bench_program, monkeypatch, repository):
    monkeypatch.setenv("PYTHONPATH", "/packages")
    program = bench_program("training_step")
    assert program.child_environment()["PYTHONPATH"] == f"{repository}{os.pathsep}/packages"
    monkeypatch.delenv("PYTHONPATH")
    assert program.child_environment()["PYTHONPATH"] == str(repository)
