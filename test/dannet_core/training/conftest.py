"""A toy data set and a run small enough for a laptop's CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install '.[train]'")

from dannet_core.data.toy_city import DataSetCounts, write_data_set  # noqa: E402 - after the skip
from dannet_core.training.config import PRESETS, TrainConfig  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So small a network gains nothing from threads, and on a loaded machine they wait for each other."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # for the processes that a test starts
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    write_data_set(root, 5, (96, 128), DataSetCounts(train=5, val=2, pairs=3, night_val=2))
    return root


@pytest.fixture
def tiny_run(toy_root: Path, tmp_path: Path) -> Any:
    """A function from changed settings to a `TrainConfig` of a 4-step run."""
    from dannet_core.settings import parse

    def make(**changes: object) -> TrainConfig:
        settings: dict[str, object] = {
            "run_dir": tmp_path / "run",
            "device": "cpu",
            "data.source": toy_root / "cityscapes",
            "data.target": toy_root / "dark_zurich",
            "data.workers": 0,
            "model.arch": "lraspp",
            "model.relighting_width": 4,
            "model.discriminator_width": 4,
            "crop.source": (64, 64),
            "crop.target": (64, 96),
            "optimiser.steps": 4,
            "watch.log_every": 1,
            "watch.evaluate_every": 0,
            "watch.checkpoint_every": 2,
            "watch.tensorboard": False,
        } | {name.replace("__", "."): value for name, value in changes.items()}
        argv: list[str] = []
        for name, value in settings.items():
            if isinstance(value, bool):
                argv.append(f"--{name}" if value else f"--no-{name}")
            elif value is not None:
                argv += [f"--{name}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
        return parse(TrainConfig, argv, "test", "", PRESETS)

    return make
