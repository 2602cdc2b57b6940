"""One bag of a fleet, as a worker does it: its result appears whole in the bag's folder, or not at all."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2

from dannet_core.atomic_files import replaced_folder
from dannet_core.errors import BackendError, DannetError, OutputError, SettingsError, first_line
from dannet_ros.replay.bag_options import Settings
from dannet_ros.replay.bag_reading import BagError
from dannet_ros.replay.fleet.bag_record import BagRecord, is_free, read_record, write_pictures
from dannet_ros.replay.fleet.fingerprint import (
    Plain,
    bag_files,
    bag_hash,
    describe,
    differences,
    fingerprint,
    inputs_state,
    software_here,
)
from dannet_ros.replay.frame_scores import ModelScore
from dannet_ros.replay.one_bag import common_classes, evaluate, opened_models


@dataclass(frozen=True)
class Place:
    """What a worker is to find as it is where the fleet was started.

    Attributes:
        folder: the working folder, from which paths are given.
        software: see `software_here`.
    """

    folder: str
    software: Plain


@dataclass(frozen=True)
class BagTask:
    """One bag.

    Attributes:
        bag: its path.
        out: where its result goes.
        settings: how.
        place: see `Place`.
        expected: see `dannet_ros.replay.fleet.fingerprint.fingerprint`.
        inputs: see `inputs_state`.
        again: do it even where its result is there.
    """

    bag: Path
    out: Path
    settings: Settings
    place: Place
    expected: Plain
    inputs: list[Any]
    again: bool


@dataclass(frozen=True)
class Outcome:
    """What came of a task.

    Attributes:
        problem: why there is no result, in one line; empty where there is one.
        kept: the result was there already.
        interrupted: the worker was told to stop.
        runs_on: see `describe`; of a trial only.
    """

    problem: str = ""
    kept: bool = False
    interrupted: bool = False
    runs_on: list[Plain] = field(default_factory=list)


def try_models(task: BagTask) -> Outcome:
    """Open the models, so that what is wrong with them is said once and not for every bag."""
    return _answer(task, _try_models)


def evaluate_task(task: BagTask) -> Outcome:
    """Evaluate the bag, unless its result is there."""
    return _answer(task, _evaluate)


def _answer(task: BagTask, work: Callable[[BagTask], Outcome]) -> Outcome:
    """Whatever happens in ``work`` becomes an outcome."""
    before = cv2.getNumThreads()
    try:
        with _in_place(task.place):
            if task.settings.threads:
                cv2.setNumThreads(task.settings.threads)
            return work(task)
    except DannetError as error:
        return Outcome(str(error))
    except KeyboardInterrupt:
        return Outcome(interrupted=True)
    except Exception as error:  # noqa: BLE001  the other bags are to go on
        traceback.print_exc(file=sys.stderr)
        return Outcome(f"unexpected {type(error).__name__}: {first_line(error)}")
    finally:
        cv2.setNumThreads(before)


def _try_models(task: BagTask) -> Outcome:
    with opened_models(task.settings) as models:
        common_classes(task.settings, models)
        return Outcome(runs_on=describe(models))


@contextmanager
def _in_place(place: Place) -> Iterator[None]:
    """Work in the fleet's folder; a machine that lacks it, or has other software, is refused by name."""
    before, host = Path.cwd(), socket.gethostname()
    other = differences(software_here(), place.software)
    if other:
        raise SettingsError(f"{host}: other software than where evaluate_bag was started: {'; '.join(other)}")
    try:
        os.chdir(place.folder)
    except OSError as error:
        raise OutputError(
            f"{host}: {place.folder}: {error.strerror}: all machines have to see the same files"
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.chdir(before)


def _evaluate(task: BagTask) -> Outcome:
    settings, begin = task.settings, time.perf_counter()
    inputs = inputs_state(settings)
    if inputs != task.inputs:  # copies of another machine, or changed since
        _require_expected(fingerprint(settings, task.place.software, task.expected["runs_on"]), task.expected)
    files, sha256 = bag_files(task.bag), bag_hash(task.bag)
    record = None if task.again else read_record(task.out)
    if (
        record is not None
        and record.bag_sha256 == sha256
        and not record.why_not(task.out, str(task.bag), task.expected)
    ):
        replace(record, bag_files=files).write(task.out)
        return Outcome(kept=True)
    if not is_free(task.out):
        raise OutputError(f"{task.out}: is there and holds no result: choose another folder with --out")
    with replaced_folder(task.out) as made:
        made.mkdir()
        with _scratch(made.parent):
            done = evaluate(
                task.bag, task.settings, made, on_models=lambda models: _require_same(models, task), quiet=True
            )
        if done.content["interrupted"]:
            raise KeyboardInterrupt
        if (bag_files(task.bag), inputs_state(settings)) != (files, inputs):
            raise BagError(f"{task.bag}: the bag, a model or labels were changed meanwhile: evaluate it again")
        done.write(made)
        worst = write_pictures(made, done.evaluation.models)
        seconds, host = round(time.perf_counter() - begin, 3), socket.gethostname()
        ran = {"seconds": seconds, "machine": host, "threads": settings.threads}
        record = BagRecord(str(task.bag), sha256, files, task.expected, worst=worst, ran=ran)
        record.of_folder(made).write(made)
    return Outcome()


def _require_expected(found: Plain, expected: Plain) -> None:
    other = differences(found, expected)
    if other:
        raise SettingsError(f"{'; '.join(other)} since evaluate_bag was started, or on {socket.gethostname()}")


def _require_same(models: Sequence[ModelScore], task: BagTask) -> None:
    """Refuse a machine that runs a model otherwise than the first one did: it may round otherwise."""
    here = describe(models)
    for found, expected in zip(here, task.expected["runs_on"], strict=True):
        if found != expected:
            got, wanted = (", ".join(f"{key} {value}" for key, value in one.items()) for one in (found, expected))
            raise BackendError(f"{socket.gethostname()}: got {got}, expected {wanted} as for the other bags")


@contextmanager
def _scratch(folder: Path) -> Iterator[None]:
    """Let temporary files lie where they are removed even after a worker that was killed."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
