"""The presets `paper` and `official` compute what they always did: their losses were recorded and may not move."""

import json
import platform
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from dannet_core.networks.weights import load_weights  # noqa: E402 - after the skip
from dannet_core.training.recipe import run_training  # noqa: E402

RECORDED = Path(__file__).with_name("recorded_losses.json")
TOLERANCE = 2e-3
"""Elsewhere: another processor or torch sums in another order."""


def here() -> dict[str, str]:
    """On what losses are the same to the bit."""
    cpu = Path("/proc/cpuinfo")
    model = (
        next((line for line in cpu.read_text().splitlines() if line.startswith("model name")), "")
        if cpu.exists()
        else ""
    )
    return {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cpu": model.partition(":")[2].strip(),
        "threads": str(torch.get_num_threads()),
    }


def total(last: Path) -> float:
    """One number that moves with the last bit of any weight or buffer."""
    state = load_weights(last).state_dict()
    return sum(float((tensor.double() * (index + 1)).abs().sum()) for index, tensor in enumerate(state.values()))


def losses(run_dir: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_s"} for line in lines]


@pytest.mark.parametrize("preset", ["paper", "official"])
def test_a_preset_computes_the_losses_that_were_recorded(tiny_run, preset):
    config = tiny_run(preset=preset, seed=3, crop__target_input=(64, 64) if preset == "official" else None)
    last = run_training(config, "train")
    recorded = json.loads(RECORDED.read_text())
    expected = recorded["losses"][preset]
    if recorded["here"] == here():
        assert losses(config.run_dir) == expected
        assert total(last) == recorded["totals"][preset]
        return
    for got, step in zip(losses(config.run_dir), expected, strict=True):
        assert got == pytest.approx(step, rel=TOLERANCE, abs=1e-5)
