import pytest

from dannet_core.metadata import ModelMetadata
from dannet_core.networks.flops import count_flops


@pytest.mark.parametrize(("arch", "tflop"), [("deeplabv2", 1.05), ("refinenet", 1.37)])
def test_counts_what_the_networks_are_known_to_cost_at_960x540(arch, tflop):
    metadata = ModelMetadata(arch, "resnet101")
    assert count_flops(metadata, (540, 960)) / 1e12 == pytest.approx(tflop, rel=0.02)


def test_four_times_the_pixels_cost_four_times_as_much():
    metadata = ModelMetadata("refinenet", "resnet18", relighting_width=8)
    assert count_flops(metadata, (512, 1024)) == 4 * count_flops(metadata, (256, 512))
