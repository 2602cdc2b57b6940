import pytest
import torch

from dannet_core.classes import CITYSCAPES_CLASS_SHARES, reweighting_vector
from dannet_core.losses.adversarial import adversarial_loss, discriminator_loss
from dannet_core.losses.inputs import in_full_precision
from dannet_core.losses.light import light_loss, mean_intensity
from dannet_core.losses.segmentation import segmentation_loss
from dannet_core.losses.static import static_loss

WEIGHTS = torch.from_numpy(reweighting_vector(CITYSCAPES_CLASS_SHARES, std=0.05))


def everything(image, residual, logits, labels, weights):
    """All losses of a training step, as one scalar."""
    light = light_loss(image, image + residual, mean_intensity(image)).total
    static = [static_loss(logits, labels, variant, 1.0, weights) for variant in ("paper", "official")]
    segmentation = segmentation_loss(logits, labels, weights)
    adversarial = [adversarial_loss(logits), discriminator_loss(logits, logits)]
    return torch.stack([light, *static, segmentation, *adversarial]).sum()


@pytest.fixture
def inputs(pattern, label_pattern):
    images = (pattern(2, 3, 40, 48, seed=1, scale=2.0), pattern(2, 3, 40, 48, seed=2, scale=0.5))
    return (*images, pattern(2, 19, 40, 48, seed=3, scale=4.0), label_pattern(2, 40, 48, seed=4, above=19), WEIGHTS)


def with_gradients(values):
    return [value.detach().clone().requires_grad_(index in (1, 2)) for index, value in enumerate(values)]


def test_widens_half_precision_only():
    @in_full_precision
    def dtypes(first, second, name, third=None):
        return [first.dtype, second.dtype, name, third.dtype]

    half, double, ids = torch.zeros(1).half(), torch.zeros(1).double(), torch.zeros(1, dtype=torch.uint8)
    assert dtypes(half, double, "x", third=ids) == [torch.float32, torch.float64, "x", torch.uint8]
    assert dtypes(ids, half.bfloat16(), "x", third=half) == [torch.uint8, torch.float32, "x", torch.float32]


def test_switches_autocast_off_inside_and_back_on_after():
    @in_full_precision
    def product(matrix):
        return matrix @ matrix

    matrix = torch.eye(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product(matrix).dtype == torch.float32
        assert (matrix @ matrix).dtype == torch.bfloat16


def test_autocast_changes_no_loss_and_no_gradient(inputs):
    plain, cast = with_gradients(inputs), with_gradients(inputs)
    everything(*plain).backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = everything(*cast)
    loss.backward()
    assert loss.item() == everything(*inputs).item()
    for index in (1, 2):
        assert torch.equal(plain[index].grad, cast[index].grad)


def test_losses_compile_to_one_graph_and_so_never_wait_for_the_device(inputs):
    # With fullgraph, .item(), a branch on a tensor or an index by a mask is an error.
    compiled = torch.compile(everything, fullgraph=True, backend="eager")
    eager, traced = with_gradients(inputs), with_gradients(inputs)
    expected, loss = everything(*eager), compiled(*traced)
    expected.backward()
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for index in (1, 2):
        torch.testing.assert_close(traced[index].grad, eager[index].grad)
