"""A training run from first to last step: `train` adapts to the night, `pretrain` makes the source-only model."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import torch

from dannet_core.errors import TrainingError, WorkerError
from dannet_core.networks import DANNet
from dannet_core.settings import to_plain
from dannet_core.training.blending import Blend
from dannet_core.training.checkpoint import Checkpoints, read_checkpoint
from dannet_core.training.config import TrainConfig
from dannet_core.training.distributed import Processes, joined_processes
from dannet_core.training.domain_step import Part, StepResult
from dannet_core.training.feed import Feed, open_feed
from dannet_core.training.optimisers import poly_decay, set_learning_rate
from dannet_core.training.panels import step_panel
from dannet_core.training.run_files import check_run_folder, prepare_run_folder, refuse_other_settings, save_models
from dannet_core.training.run_parts import Adaptation, Validation, build_adaptation, open_validation
from dannet_core.training.step_inputs import StepInputs
from dannet_core.training.stopping import Stop, StopRequested, stop_on_signals
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
        TrainingError: a loss is NaN or infinite, or the data stopped coming.
        KeyboardInterrupt: stopped before the first step: there is nothing to continue.
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
        self._owes_evaluation = False
        self._blend: Blend | None = None
        self._best_blend, self._misses = float("-inf"), 0
        self._unchecked: list[tuple[int, list[str], dict[str, torch.Tensor]]] = []

    def run(self) -> Path:
        """Train, checkpoint, evaluate; see `run_training`."""
        first = self._begin()
        watch = self._watch(first)
        with stop_on_signals() as stop:
            try:
                self._steps(first, watch, stop)
            finally:
                watch.close()
        return self._config.run_dir / "last.safetensors"

    def _begin(self) -> int:
        """Take up the run to resume, if there is one; nothing is written before it is known to be this one."""
        newest = self._checkpoints.newest()
        check_run_folder(self._config, newest is not None)
        step, until_then = 0, dict[str, Any]()
        if newest is not None:
            state = read_checkpoint(newest)
            until_then = state["config"]
            refuse_other_settings(self._config, until_then, self._feed.identity, state.get("data"))
            self._adaptation.restore(state)
            self._best, self._owes_evaluation = state["best"], state.get("owes_evaluation", False)
            self._best_blend, self._misses = state.get("best_blend", self._best_blend), state.get("misses", 0)
            step = int(state["step"])
        if self._processes.is_first:
            prepare_run_folder(self._config, step, until_then)
        return step

    def _watch(self, first: int) -> Watch:
        if not self._processes.is_first:
            return NullWatch()
        optimiser, watch = self._config.optimiser, self._config.watch
        return Watch(self._config.run_dir, (first, optimiser.steps), optimiser.batch_size, watch.tensorboard)

    def _steps(self, first: int, watch: Watch, stop: Stop) -> None:
        """Run the steps from ``first`` to the last, or until a stop is requested or the data does not come."""
        done, steps = first, self._config.optimiser.steps
        stopped = self._is_declining()
        try:
            if self._owes_evaluation:
                self._finish(done, watch, stop, evaluate=True, save=True)
            with closing(self._feed.inputs(first, steps)) as feed:
                while done < steps and not stopped:
                    with stop.may_interrupt(self._is_alone):
                        inputs = next(feed)
                    result = self._step(done, inputs)
                    done += 1
                    stopped = self._after_step(done, inputs, result, watch, stop)
        except StopRequested:
            stopped = True
        except WorkerError as error:
            raise TrainingError(f"{error}{self._keep(done, first, watch)}") from error
        if stopped:
            self._stop(done, first, watch)

    def _after_step(self, step: int, inputs: StepInputs, result: StepResult, watch: Watch, stop: Stop) -> bool:
        """Log, evaluate and save after ``step`` finished steps, where they are due; True to stop here."""
        every, last = self._config.watch, step == self._config.optimiser.steps
        self._unchecked.append((step, inputs.names, result.losses))
        watch.advance(step)
        evaluate, save = _due(step, every.evaluate_every) or last, _due(step, every.checkpoint_every) or last
        if _due(step, every.panels_every):
            watch.panel(step, "step", step_panel(result, inputs.labels))
        # Nothing is saved before its losses are known to be finite. Several processes agree on stopping when they log.
        if not (evaluate or save or _due(step, every.log_every)):
            return False
        self._log(step, watch)
        self._owes_evaluation = evaluate and (every.validation is not None or self._config.beyond.patience > 0)
        if self._processes.any(stop.requested):
            return True
        if evaluate or save:
            self._finish(step, watch, stop, evaluate, save)
        return self._is_declining()

    def _finish(self, step: int, watch: Watch, stop: Stop, evaluate: bool, save: bool) -> None:
        with stop.may_interrupt(self._is_alone):
            net = self._deployable(step)
            scores = self._measure(net) if evaluate else {}
        metrics = self._record(step, net, scores, watch) if scores else {}
        if evaluate and self._blend is not None:
            self._judge_blend(step, self._blend, metrics, watch)
        self._owes_evaluation = False
        if save:
            self._save_state(step)
            self._save_last(step, net, metrics)

    def _judge_blend(self, step: int, blend: Blend, metrics: dict[str, float], watch: Watch) -> None:
        """Say how a blend scored; with patience the best is kept, and those below it are counted."""
        watch.say(f"step {step}: blend of {blend.share:g} adapted scores {blend.score:.4f}")
        watch.record(step, {"blend_share": blend.share, "blend_score": blend.score})
        if self._config.beyond.patience == 0:
            return
        if blend.score <= self._best_blend:
            self._misses += 1
            return
        self._best_blend, self._misses = blend.score, 0
        if self._processes.is_first:
            self._save_models("best", step, blend.net, metrics)

    def _is_declining(self) -> bool:
        patience = self._config.beyond.patience
        return 0 < patience <= self._misses

    def _stop(self, step: int, first: int, watch: Watch) -> None:
        """Save what was done since the start and say how to go on; first the state, from which the rest can be made."""
        if step == 0:
            raise KeyboardInterrupt
        if step > first:
            self._log(step, watch)
            self._save_state(step)
            self._save_last(step, self._deployable(step), {})
        if self._is_declining():
            misses = f"{self._misses} evaluations"
            watch.say(f"ended after step {step}: no better blend in {misses}: best.safetensors is the best one")
        else:
            watch.say(f"stopped after step {step}: continue with --resume")

    def _keep(self, step: int, first: int, watch: Watch) -> str:
        """Save the state when the data stops coming, where no other process has to be waited for, and say so."""
        if step > first and self._is_alone:
            self._log(step, watch)
            self._save_state(step)
        elif step == 0 or not self._is_alone:
            return ""
        return f" (saved after step {step}: continue with --resume)"

    @property
    def _is_alone(self) -> bool:
        return self._processes.count == 1

    def _deployable(self, step: int) -> DANNet:
        """The network as it is validated and saved: with the batch-norm statistics that are asked for.

        Training goes on with the running ones. Every process estimates, from its own share of the batches, since
        synchronised batch norms wait for each other; the first one's network is what is used.
        """
        adaptation, config, net = self._adaptation, self._config, self._adaptation.deployable
        beyond = config.beyond
        of_blend = beyond.statistics_of != "source"
        if not of_blend:
            net = self._fitted(net, step, beyond.statistics, adaptation.step.day_and_night)
        if adaptation.blender is not None:
            with closing(self._feed.inputs(step, step + beyond.blend)) as feed:
                self._blend = adaptation.blender.blend(net, feed)
            net = self._blend.net
        if of_blend:
            pictures = StepInputs.pairs if beyond.statistics_of == "pairs" else None
            net = self._fitted(net, step, beyond.statistics, pictures)
            if self._blend is not None:
                self._blend = dataclasses.replace(self._blend, net=net)
        return self._fitted(net, step, config.optimiser.target_statistics, _night)

    def _fitted(
        self, net: DANNet, step: int, count: int, pictures: Callable[[StepInputs], torch.Tensor] | None
    ) -> DANNet:
        """A copy with statistics of the pictures of ``count`` batches; 0, or while pre-training: the network itself.

        ``pictures`` gives those of a step's crops; None = whole pictures.
        """
        if self._mode != "train" or count == 0:
            return net
        fitted, steps = copy.deepcopy(net), (step, step + count)
        if pictures is None:
            with closing(self._feed.whole_pictures(*steps)) as batches:
                estimate_statistics(fitted, batches)
            return fitted
        with closing(self._feed.inputs(*steps)) as feed:
            estimate_statistics(fitted, map(pictures, feed))
        return fitted

    def _step(self, step: int, inputs: StepInputs) -> StepResult:
        adaptation, count = self._adaptation, self._config.optimiser.accumulate
        share = poly_decay(step, self._config.optimiser.steps, self._config.optimiser.power)
        set_learning_rate(adaptation.optimisers, share)
        for optimiser in adaptation.optimisers:
            optimiser.zero_grad(set_to_none=True)
        iterate = adaptation.step.adapt if self._mode == "train" else adaptation.step.pretrain
        result = StepResult(is_shown=_due(step + 1, self._config.watch.panels_every))
        for part in inputs.parts(count):
            iterate(Part(part, result, 1 / count))
        self._processes.average_gradients(adaptation.parameters())
        adaptation.precision.step(adaptation.optimisers)
        if adaptation.teacher is not None:
            adaptation.teacher.follow(adaptation.networks.net, step + 1)
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

    def _measure(self, net: DANNet) -> dict[str, float]:
        """Scores on the validation set; none without one."""
        if self._validation is None:
            return {}
        scores = self._validation.measure(net, self._adaptation.metadata)
        self._adaptation.use_training_mode()
        return scores

    def _record(self, step: int, net: DANNet, scores: dict[str, float], watch: Watch) -> dict[str, float]:
        """Write scores down, keep the best model, and give the scores as a model's metadata names them."""
        assert self._validation is not None, "scores come from a validation set"
        watch.record(step, scores)
        watch.say(f"step {step}: " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items()))
        named = {f"{self._validation.name}_{name}": value for name, value in scores.items()}
        if scores["miou_present"] > self._best and self._config.beyond.patience == 0:
            self._best = scores["miou_present"]
            self._save_models("best", step, net, named)
        return named

    def _save_state(self, step: int) -> None:
        if self._processes.is_first:
            state = self._adaptation.state() | {
                "best": self._best,
                "best_blend": self._best_blend,
                "misses": self._misses,
                "owes_evaluation": self._owes_evaluation,
                "config": to_plain(self._config),
                "data": self._feed.identity,
            }
            self._checkpoints.save(step, state)

    def _save_last(self, step: int, net: DANNet, metrics: dict[str, float]) -> None:
        if self._processes.is_first:
            self._save_models("last", step, net, metrics)

    def _save_models(self, name: str, step: int, net: DANNet, metrics: dict[str, float]) -> Path:
        adaptation = self._adaptation
        optimiser = self._config.optimiser
        recipe = f"{step} steps of batch {optimiser.batch_size}, lr {optimiser.lr:g}, preset {self._config.preset}"
        averaged = "" if adaptation.teacher is None else ", averaged weights"
        blend = "" if self._blend is None else f", {self._blend.share:g} of it blended with {self._config.init}"
        night = (
            "" if optimiser.target_statistics == 0 or self._mode != "train" else ", batch-norm statistics of the night"
        )
        both = "" if self._config.beyond.statistics == 0 else ", batch-norm statistics of day and night"
        source = f"dannet {self._mode}: {recipe}, seed {self._config.seed}{averaged}{both}{blend}{night}"
        metadata = adaptation.metadata.replace(trained=True, source=source, metrics=metrics)
        return save_models(self._config.run_dir, name, net, metadata, adaptation.discriminators)


def _night(inputs: StepInputs) -> torch.Tensor:
    return inputs.target_images("night")


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
