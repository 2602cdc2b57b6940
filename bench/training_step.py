"""One training step here against the released code's, same machine, same sizes, alternating in one run.

    python bench/training_step.py --released ../DANNet --arch pspnet --out bench/results/training_step_cpu.json
    python bench/training_step.py --released ../DANNet --device cuda --source-size 512 --target-size 960 --steps 30

The released `train.py` runs as it is, on random pictures of the size its loaders hand out (pairs cropped at the target
size, then resized to the source's), so that what is measured is the step: three domains, discriminators, optimisers.
Without --released only this project's step is measured. Reading pictures is not part of it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any, Final

import torch

from dannet_core.classes import CITYSCAPES_CLASS_SHARES, reweighting_vector
from dannet_core.networks import build_dannet
from dannet_core.networks.build import build_discriminator
from dannet_core.training.config import PRESETS, LossConfig
from dannet_core.training.distributed import Processes
from dannet_core.training.domain_step import DomainStep, GeneratorForward, Networks, Part, StepResult
from dannet_core.training.optimisers import discriminator_optimiser, generator_optimiser
from dannet_core.training.precision import Precision
from dannet_core.training.step_inputs import StepInputs

REPOSITORY = Path(__file__).resolve().parents[1]
RELEASED_NAMES: Final = {"pspnet": "PSPNet", "deeplabv2": "DeepLab", "refinenet": "RefineNet"}
WARM_UP_STEPS: Final = 1
BATCHES_DRAWN: Final = 2
"""Before the clock starts: noise for one step at the paper's sizes takes a CPU longer than the step takes a GPU."""


def synchronised_s(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def loss_config(preset: str) -> LossConfig:
    changes = {key.removeprefix("loss."): value for key, value in PRESETS[preset].items() if key.startswith("loss.")}
    return LossConfig(**changes)


def draw_inputs(options: argparse.Namespace) -> StepInputs:
    """Pictures of noise in host memory, where a loader leaves them."""
    n, side = options.batch_size, options.source_size
    pictures = [torch.randn(n, 3, side, side) for _ in range(3)]
    labels = torch.randint(0, 19, (n, side, side))
    size = (options.target_size, options.target_size)
    return StepInputs(pictures[0], labels, pictures[1], pictures[2], size, [])


def on_device(inputs: StepInputs, device: torch.device) -> StepInputs:
    moved = {name: getattr(inputs, name).to(device) for name in ("source", "labels", "day", "night")}
    return dataclasses.replace(inputs, **moved)


def our_step(options: argparse.Namespace, device: torch.device) -> Any:
    """A function that runs one whole step of this project."""
    net = build_dannet(options.arch, backbone="resnet101", aspp_branches=2 if options.arch == "deeplabv2" else None)
    if hasattr(net.segmentation, "run_auxiliary"):
        net.segmentation.run_auxiliary = False
    day, night = build_discriminator(), build_discriminator()
    memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
    for network in (net, day, night):
        network.train().to(device=device, memory_format=memory_format)
    forward = GeneratorForward(net)
    if options.compile:
        forward.compile()
    precision = Precision(options.precision, device)
    optimisers: list[Any] = [generator_optimiser(net, 2.5e-4, 0.9, 5e-4)]
    optimisers += [discriminator_optimiser(network, 1e-4) for network in (day, night)]
    weights = torch.from_numpy(reweighting_vector(CITYSCAPES_CLASS_SHARES, 0.05)).to(device)
    step = DomainStep(
        Networks(net, forward, day, night), loss_config(options.preset), weights, precision, Processes(0, 1, device)
    )

    drawn = itertools.cycle([draw_inputs(options) for _ in range(BATCHES_DRAWN)])

    def run() -> None:
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        step.adapt(Part(on_device(next(drawn), device), StepResult(), 1.0))
        precision.step(optimisers)

    return run


def time_ours(options: argparse.Namespace) -> list[float]:
    device = torch.device(options.device)
    run = our_step(options, device)
    times_s = []
    for _ in range(options.steps + WARM_UP_STEPS):
        start = synchronised_s(device)
        run()
        times_s.append(synchronised_s(device) - start)
    return times_s[WARM_UP_STEPS:]


class RandomPairs(torch.utils.data.Dataset):
    """What the released loaders hand out, without reading files: two pictures, or a picture and its labels.

    Drawn once, like the other side's; a batch is still put together, and carried to the device, in the step.
    """

    side: int = 512
    with_labels: bool = False
    samples_drawn: int = 4

    def __init__(self, *_: object, max_iters: int = 0, **__: object) -> None:
        self.count = max_iters
        self.drawn = [self._draw() for _ in range(self.samples_drawn)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return *self.drawn[index % self.samples_drawn], 0, str(index)

    def _draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        first = torch.randn(3, self.side, self.side)
        return first, torch.randint(0, 19, (self.side, self.side)) if self.with_labels else torch.randn_like(first)


def time_released(options: argparse.Namespace) -> list[float]:
    """Run the released `train.py` on random pictures, and take the time whenever it reports an iteration."""
    device = torch.device(options.device)
    sys.path.insert(0, str(options.released))
    like = {"side": options.source_size, "samples_drawn": BATCHES_DRAWN * options.batch_size}
    labelled = type("Labelled", (RandomPairs,), like | {"with_labels": True})
    pairs = type("Pairs", (RandomPairs,), like)
    for name, attribute, kind in (
        ("cityscapes_dataset", "cityscapesDataSet", labelled),
        ("zurich_pair_dataset", "zurich_pair_DataSet", pairs),
    ):
        module = types.ModuleType(f"dataset.{name}")
        setattr(module, attribute, kind)
        sys.modules[f"dataset.{name}"] = module
    torch.load = lambda *_, **__: {}  # it starts from the weights it was built with
    if device.type == "cpu":
        torch.Tensor.cuda = lambda self, *_, **__: self
    moments_s: list[float] = []
    with tempfile.TemporaryDirectory() as snapshots:
        sizes = {"batch-size": options.batch_size, "input-size": options.source_size}
        sizes |= {"input-size-target": options.target_size, "num-steps": options.steps + WARM_UP_STEPS}
        settings = {"model": RELEASED_NAMES[options.arch], "num-workers": 0, "snapshot-dir": snapshots} | sizes
        sys.argv = ["train.py", *(word for name, value in settings.items() for word in (f"--{name}", str(value)))]
        source = (options.released / "train.py").read_text(encoding="utf-8")
        code = compile(source.replace('torch.device("cuda")', f'torch.device("{device}")'), "train.py", "exec")

        def report(*_: object) -> None:
            moments_s.append(synchronised_s(device))

        names: dict[str, Any] = {"__name__": "released_train", "print": report}
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, names)  # noqa: S102 - running the checkout that the caller names is the purpose
            names["main"]()
    return [later - earlier for earlier, later in itertools.pairwise(moments_s)]


def child_environment() -> dict[str, str]:
    """This project first, then what the caller put on the path: packages may be there and nowhere else."""
    path = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)}


def measure(side: str, arguments: list[str]) -> dict[str, Any]:
    """One side in a process of its own; the sides must not share allocators or patched functions."""
    command = [sys.executable, __file__, *arguments, "--side", side]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=child_environment())
    if done.returncode != 0:
        sys.exit(f"{side}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def run_side(options: argparse.Namespace) -> None:
    times_s = time_ours(options) if options.side == "ours" else time_released(options)
    memory = torch.cuda.max_memory_allocated() / 2**20 if options.device.startswith("cuda") else None
    print(json.dumps({"times_s": times_s, "gpu_memory_mib": memory}))


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    times_s = [time_s for one in rounds for time_s in one["times_s"]]
    low, high = min(times_s), max(times_s)
    median = statistics.median(times_s)
    memory = rounds[0]["gpu_memory_mib"]
    return {"steps": len(times_s), "median_s": median, "min_s": low, "max_s": high, "gpu_memory_mib": memory}


def machine(device: str) -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=False, capture_output=True, text=True, cwd=REPOSITORY)
    name = torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return {"device": name, "threads": threads, "torch": torch.__version__, "commit": commit.stdout.strip()}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--released", type=Path, help="checkout of the released code")
    parser.add_argument("--arch", choices=sorted(RELEASED_NAMES), default="pspnet")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--source-size", type=int, default=128, help="side of the source crop, pixels (paper: 512)")
    parser.add_argument("--target-size", type=int, default=240, help="side of the target crop, pixels (paper: 960)")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="measured in each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--preset", choices=("official", "paper"), default="official")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--channels-last", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--side", choices=("ours", "released"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if options.released is not None:
        options.released = options.released.resolve()
        if not (options.released / "train.py").is_file():
            parser.error(f"--released {options.released}: no train.py there, expected a checkout of the released code")
    return options


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    if options.side:
        run_side(options)
        return
    sides = ["ours", *(["released"] if options.released else [])]
    rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side in sides:
            rounds[side].append(measure(side, arguments))
    settings = {key: value for key, value in vars(options).items() if key not in ("released", "side", "out")}
    result: dict[str, Any] = {"machine": machine(options.device), "settings": settings}
    result |= {side: summary(one) for side, one in rounds.items()}
    if options.released:
        result["released_over_ours"] = result["released"]["median_s"] / result["ours"]["median_s"]
    text = json.dumps(result, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
