from __future__ import annotations

from dannet_core.deploy.build_progress import PhaseTree


def test_nested_phases_are_one_fraction_that_never_goes_back():
    tree = PhaseTree()
    assert tree.now() == ("starting", 0.0)
    tree.start("build", None, 4)
    assert tree.complete("build", 0)
    assert tree.now() == ("build", 0.25)
    tree.start("optimise", "build", 2)
    tree.start("fuse", "optimise", 5)
    assert tree.complete("fuse", 3)
    assert tree.now() == ("fuse", 0.25 + 0.25 * 0.5 * 0.8)
    tree.finish("fuse")
    assert tree.now() == ("optimise", 0.25 + 0.25 * 0.5 * 0.8)
    tree.complete("optimise", 1)
    tree.finish("optimise")
    assert tree.now() == ("build", 0.35)
    tree.finish("build")
    assert tree.now()[1] == 1.0


def test_phases_out_of_order_and_without_steps_do_no_harm():
    tree = PhaseTree()
    tree.finish("unknown")
    assert tree.complete("unknown", 3)
    tree.start("orphan", "gone", 0)
    tree.complete("orphan", 0)
    assert tree.now() == ("orphan", 1.0)


def test_stopping_is_the_answer_to_the_next_step():
    tree = PhaseTree()
    tree.start("build", None, 2)
    tree.stop()
    assert not tree.complete("build", 0)
