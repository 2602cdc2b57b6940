from collections import Counter

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from dannet_core.data.loaders import Batch, Decoded, StepSampler, seeded, step_loader  # noqa: E402 - after the skip

CPU = torch.device("cpu")


def order(count: int, batch: int, steps: tuple[int, int], seed: int = 0, share: tuple[int, int] = (0, 1)):
    return list(StepSampler(count, batch, seed, steps, share))


def test_every_epoch_shows_every_sample_once_in_another_order():
    flat = [index for batch in order(5, 2, (0, 10)) for index in batch]
    epochs = [flat[i : i + 5] for i in range(0, 20, 5)]
    assert all(Counter(epoch) == Counter(range(5)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_resumed_run_sees_what_the_uninterrupted_one_would():
    assert order(7, 3, (0, 9))[4:] == order(7, 3, (4, 9))


def test_seeds_give_other_orders():
    assert order(50, 2, (0, 25), seed=1) != order(50, 2, (0, 25), seed=2)


def test_processes_share_out_the_batches_of_one():
    whole = order(9, 4, (0, 6))
    parts = [order(9, 4, (0, 6), share=(rank, 2)) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == [sorted(batch) for batch in whole]


def test_seeded_streams_depend_on_every_number():
    draws = {tuple(torch.rand(2, generator=seeded(*key)).tolist()) for key in [(0, 0), (0, 1), (1, 0), (1, 1), (0,)]}
    assert len(draws) == 5
    assert torch.rand(1, generator=seeded(3, 4)) == torch.rand(1, generator=seeded(3, 4))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_decodes_in_order_and_leaves_the_global_generator_alone(workers):
    samples = Decoded(4, lambda i: Batch([f"n{i}"], {"source": [torch.full((3, 2, 2), i)]}, [torch.full((2, 2), i)]))
    before = torch.get_rng_state()
    batches = list(step_loader(samples, StepSampler(4, 2, 0, (0, 4)), CPU, workers))
    expected = order(4, 2, (0, 4))
    assert [batch.names for batch in batches] == [[f"n{i}" for i in indices] for indices in expected]
    assert [int(batch.labels[1][0, 0]) for batch in batches] == [indices[1] for indices in expected]
    assert torch.equal(torch.get_rng_state(), before)
