"""A training run from first to last step: `train` adapts to the night, `pretrain` makes the source-only model."""

from __future__ import annotations

import copy
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

from dannet_core.errors import SettingsError, TrainingError
from dannet_core.networks import DANNet
from dannet_core.settings import to_plain
from dannet_core.training.checkpoint import Checkpoints, read_checkpoint
from dannet_core.training.config import TrainConfig
from dannet_core.training.distributed import Processes, joined_processes
from dannet_core.training.domain_step import Part, StepResult
from dannet_core.training.optimisers import poly_decay, set_learning_rate
from dannet_core.training.panels import step_panel
from dannet_core.training.run_files import prepare_run_folder, refuse_other_settings, save_models
from dannet_core.training.run_parts import Adaptation, Feed, Validation, build_adaptation, open_feed, open_validation
from dannet_core.training.step_inputs import StepInputs
from dannet_core.training.target_statistics import estimate_statistics
from dannet_core.training.watch import NullWatch, Watch

MODES: Final = ("train", "pretrain")


def run_training(config: TrainConfig, mode: str) -> Path:
    """Run to the last step, or until SIGINT or SIGTERM, after which ``resume`` continues exactly.

    Args:
        config: everything about the run.
        mode: ``train`` (the paper's adaptation) or ``pretrain`` (the source-only segmentation network, Table 1).

    Returns:
        ``last.safetensors`` in the run folder.

    Raises:
        SettingsError, DataSetError, ModelFileError: something is wrong; found before the first step.
        TrainingError: a loss is NaN or infinite.
    """
    with joined_processes(config.device) as processes:
        return Run(config, mode, processes).run()


class Run:
    """One process's share of a run.

    Args:
        config: everything about the run.
        mode: one of `MODES`.
        processes: this process among all.
    """

    def __init__(self, config: TrainConfig, mode: str, processes: Processes) -> None:
        self._config = config
        self._processes = processes
        self._mode = mode
        self._checkpoints = Checkpoints(config.run_dir / "checkpoints", config.watch.keep)
        self._feed: Feed = open_feed(config, mode, processes)
        self._validation: Validation | None = open_validation(config) if processes.is_first else None
        torch.manual_seed(config.seed)
        self._adaptation: Adaptation = build_adaptation(config, mode, self._feed.class_shares, processes)
        self._best = float("-inf")
        self._unchecked: list[tuple[int, list[str], dict[str, torch.Tensor]]] = []

    def run(self) -> Path:
        """Train, checkpoint, evaluate; see `run_training`."""
        first = self._begin()
        watch = self._watch(first)
        with _stop_on_signals() as stop:
            try:
                self._steps(first, watch, stop)
            finally:
                watch.close()
        return self._config.run_dir / "last.safetensors"

    def _begin(self) -> int:
        newest = self._checkpoints.newest()
        if self._processes.is_first:
            prepare_run_folder(self._config, newest is not None)
        if not self._config.resume:
            return 0
        if newest is None:
            raise SettingsError(f"resume: {self._config.run_dir} holds no checkpoint")
        state = read_checkpoint(newest)
        refuse_other_settings(self._config, state["config"])
        self._adaptation.restore(state)
        self._best = state["best"]
        return int(state["step"])

    def _watch(self, first: int) -> Watch:
        if not self._processes.is_first:
            return NullWatch()
        optimiser, watch = self._config.optimiser, self._config.watch
        return Watch(self._config.run_dir, (first, optimiser.steps), optimiser.batch_size, watch.tensorboard)

    def _steps(self, first: int, watch: Watch, stop: threading.Event) -> None:
        """Run the steps from ``first`` to the last, or until ``stop`` is set."""
        steps, every = self._config.optimiser.steps, self._config.watch
        for step, inputs in enumerate(self._feed.inputs(first, steps), start=first + 1):
            result = self._step(step - 1, inputs)
            self._unchecked.append((step, inputs.names, result.losses))
            watch.advance(step)
            evaluate = _due(step, every.evaluate_every) or step == steps
            save = _due(step, every.checkpoint_every) or step == steps
            if _due(step, every.panels_every):
                watch.panel(step, "step", step_panel(result, inputs.labels))
            # Nothing is saved before its losses are known to be finite.
            if evaluate or save or _due(step, every.log_every) or self._alone_and(stop):
                self._log(step, watch)
                stopping = self._processes.any(stop.is_set())
                evaluate, save = evaluate and not stopping, save or stopping
                if evaluate or save:
                    net = self._deployable(step)
                    metrics = self._evaluate(step, net, watch) if evaluate else {}
                    self._save(step, net, metrics, wanted=save)
                if stopping:
                    watch.say(f"stopped after step {step}: continue with --resume")
                    break

    def _deployable(self, step: int) -> DANNet:
        """The network as it is validated and saved: with batch-norm statistics of the night, where that is asked for.

        Training goes on with the running ones. Every process estimates, from its own share of the batches, since
        synchronised batch norms wait for each other; the first one's network is what is used.
        """
        net, count = self._adaptation.networks.net, self._config.optimiser.target_statistics
        if self._mode != "train" or count == 0:
            return net
        fitted = copy.deepcopy(net)
        estimate_statistics(fitted, (part.target_images("night") for part in self._feed.inputs(step, step + count)))
        return fitted

    def _alone_and(self, stop: threading.Event) -> bool:
        """Several processes agree on stopping when they log; one need not wait for that."""
        return self._processes.count == 1 and stop.is_set()

    def _step(self, step: int, inputs: StepInputs) -> StepResult:
        adaptation, count = self._adaptation, self._config.optimiser.accumulate
        share = poly_decay(step, self._config.optimiser.steps, self._config.optimiser.power)
        set_learning_rate(adaptation.optimisers, share)
        for optimiser in adaptation.optimisers:
            optimiser.zero_grad(set_to_none=True)
        iterate = adaptation.step.adapt if self._mode == "train" else adaptation.step.pretrain
        result = StepResult()
        for part in inputs.parts(count):
            iterate(Part(part, result, 1 / count))
        self._processes.average_gradients(adaptation.parameters())
        adaptation.precision.step(adaptation.optimisers)
        return result

    def _log(self, step: int, watch: Watch) -> None:
        """The one place that waits for the device: fetch the losses since the last time, refuse what is not finite."""
        latest: dict[str, float] = {}
        for number, names, losses in self._unchecked:
            terms = self._processes.mean(torch.stack(list(losses.values()))).tolist()
            latest = dict(zip(losses, terms, strict=True))
            wrong = [term for term, value in latest.items() if not torch.isfinite(torch.tensor(value))]
            if wrong:
                raise TrainingError(
                    f"step {number}: loss '{wrong[0]}' is {latest[wrong[0]]} on {', '.join(names)}: "
                    f"resume from the last checkpoint with a smaller learning rate, or look at these files"
                )
        self._unchecked.clear()
        watch.scalars(step, latest | {"lr": self._adaptation.optimisers[0].param_groups[0]["lr"]})

    def _evaluate(self, step: int, net: DANNet, watch: Watch) -> dict[str, float]:
        """Scores on the validation set, as a model's metadata names them; none without one."""
        if self._validation is None:
            return {}
        metrics = self._validation.measure(net, self._adaptation.metadata)
        self._adaptation.use_training_mode()
        watch.record(step, metrics)
        watch.say(f"step {step}: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        named = {f"{self._validation.name}_{name}": value for name, value in metrics.items()}
        if metrics["miou_present"] > self._best:
            self._best = metrics["miou_present"]
            self._save_models("best", step, net, named)
        return named

    def _save(self, step: int, net: DANNet, metrics: dict[str, float], *, wanted: bool) -> None:
        if wanted and self._processes.is_first:
            state = self._adaptation.state() | {"best": self._best, "config": to_plain(self._config)}
            self._checkpoints.save(step, state)
            self._save_models("last", step, net, metrics)

    def _save_models(self, name: str, step: int, net: DANNet, metrics: dict[str, float]) -> Path:
        adaptation = self._adaptation
        optimiser = self._config.optimiser
        recipe = f"{step} steps of batch {optimiser.batch_size}, lr {optimiser.lr:g}, preset {self._config.preset}"
        night = ", batch-norm statistics of the night" if net is not adaptation.networks.net else ""
        source = f"dannet {self._mode}: {recipe}, seed {self._config.seed}{night}"
        metadata = adaptation.metadata.replace(trained=True, source=source, metrics=metrics)
        return save_models(self._config.run_dir, name, net, metadata, adaptation.discriminators)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set the event instead of ending the process; a second SIGINT interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    interrupt = signal.getsignal(signal.SIGINT)

    def on_signal(number: int, _: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, interrupt)
        del number

    old = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
