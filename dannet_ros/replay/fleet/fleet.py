"""Many bags, some at a time: what is done already is kept, who dies is replaced, who fails is named."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from dannet_core.atomic_files import remove_leftover_folders
from dannet_core.errors import BackendError, OutputError, SettingsError
from dannet_core.evaluation.report import prepare_folder
from dannet_core.file_lock import locked
from dannet_core.program import EXIT_INTERRUPTED
from dannet_core.report.page import page_missing, write_page
from dannet_ros.replay.bag_evaluation import stop_flag
from dannet_ros.replay.bag_options import Settings
from dannet_ros.replay.bag_reading import BagError
from dannet_ros.replay.bag_report import JSON_NAME, write_json
from dannet_ros.replay.fleet.bag_record import BagRecord, is_free, read_record
from dannet_ros.replay.fleet.bag_search import FoundBags
from dannet_ros.replay.fleet.bag_task import BagTask, Place, evaluate_task, try_models
from dannet_ros.replay.fleet.cluster import Cluster
from dannet_ros.replay.fleet.fingerprint import bag_files, fingerprint, inputs_state, software_here
from dannet_ros.replay.fleet.page import render
from dannet_ros.replay.fleet.processes import Processes
from dannet_ros.replay.fleet.summary import BAGS_NAME, FAILED, FORMAT, NOT_DONE, FleetSummary, summary_text
from dannet_ros.replay.fleet.workers import Died, Workers
from dannet_ros.replay.one_bag import REPORT_NAME, warn_without_page

ATTEMPTS: Final = 3
"""Workers that may die of one bag before it is given up."""
EXIT_SOME: Final = 1
"""A bag had to be left out."""
_LOCK: Final = ".evaluate_bag.lock"
_POLL_S: Final = 0.5
_MODELS: Final = "the models"


def evaluate_fleet(settings: Settings, found: FoundBags) -> int:
    """Evaluate all bags that are not done; write each one's results and the summary.

    Returns:
        0; 1 where a bag failed or could not be looked for; 130 after Ctrl-C.

    Raises:
        DannetError: a setting or a model is wrong, or no bag at all could be evaluated.
    """
    _check(settings, found)
    warn_without_page()
    prepare_folder(settings.out / BAGS_NAME)
    with locked(settings.out / _LOCK, _refuse_second(settings.out)):
        _remove_half_done(settings.out)
        settings = replace(settings, threads=_threads(settings))
        workers = _open_workers(settings, len(found.bags))
        try:
            with stop_flag() as stop:
                fleet = Fleet(settings, found, workers, stop)
                fleet.prepare()
                fleet.go_through()
                workers.stop()
                return fleet.finish()
        finally:
            workers.stop()
            _remove_half_done(settings.out)


class Fleet:
    """The state of one run.

    Attributes:
        failed: why, by the bag's name.
        kept: names of the bags whose results were there already.
        attempts: workers that a bag has had.
    """

    def __init__(self, settings: Settings, found: FoundBags, workers: Workers, stop: threading.Event) -> None:
        """Begin nothing yet; ``stop`` is set by Ctrl-C."""
        self._settings, self._found, self._workers, self._stop = settings, found, workers, stop
        self._bags = {bag.name: bag for bag in found.bags}
        self._tasks: dict[str, BagTask] = {}
        self._records: dict[str, BagRecord] = {}
        self.failed: dict[str, str] = {}
        self.kept: set[str] = set()
        self.attempts: Counter[str] = Counter()
        self._started, self._begin = datetime.now(timezone.utc).isoformat(timespec="seconds"), time.perf_counter()

    def prepare(self) -> None:
        """Open the models once, and find what is done already.

        Raises:
            DannetError: the models cannot be opened, are not of the same classes, or a result's place is taken.
        """
        settings, software = self._settings, software_here()
        place, inputs = Place(str(Path.cwd()), software), inputs_state(settings)
        blank = BagTask(Path(), Path(), settings, place, {}, inputs, settings.overwrite)
        expected = fingerprint(settings, software, self._try_models(blank))
        for bag in self._found.bags:
            out = settings.out / BAGS_NAME / bag.name
            self._tasks[bag.name] = replace(blank, bag=bag.path, out=out, expected=expected)
            if not is_free(out):
                raise OutputError(f"{out}: is there and holds no result: choose another folder with --out")
        # From here on it would be of other results than those that lie below.
        for name in (JSON_NAME, REPORT_NAME):
            (settings.out / name).unlink(missing_ok=True)
        for name, task in self._tasks.items():
            self._look_for(name, task)

    def go_through(self) -> None:
        """Do what is to be done, until Ctrl-C."""
        waiting = deque(name for name in self._tasks if name not in self._records)
        running: set[str] = set()
        while (waiting or running) and not self._stop.is_set():
            while waiting and len(running) < self._workers.count:
                name = waiting.popleft()
                self.attempts[name] += 1
                self._workers.start(name, evaluate_task, self._tasks[name])
                running.add(name)
            for name, result in self._workers.wait(_POLL_S):
                running.discard(name)
                if self._take(name, result):
                    waiting.append(name)

    def finish(self) -> int:
        """Write the summary and say what came of it."""
        interrupted, out = self._stop.is_set(), self._settings.out
        summary = FleetSummary(self._settings.worst)
        for name, bag in self._bags.items():
            record = self._records.get(name)
            if record is None:
                summary.leave_out(
                    bag, FAILED if name in self.failed else NOT_DONE, self.failed.get(name, "interrupted")
                )
            else:
                content = json.loads((self._tasks[name].out / JSON_NAME).read_text(encoding="utf-8"))
                summary.add(bag, content, record)
        if not self._records:
            if interrupted:
                raise KeyboardInterrupt
            first = next(iter(self.failed))
            raise BagError(f"none of {len(self._bags)} bags could be evaluated, {first} because: {self.failed[first]}")
        content = {**summary.content(self._found, interrupted), "timing": self._timing()}
        pages = page_missing() is None
        if pages:
            write_page(out / REPORT_NAME, render(content, summary, out))
        write_json(out / JSON_NAME, content)
        print(summary_text(content))
        names = [*([REPORT_NAME] if pages else []), JSON_NAME, f"{BAGS_NAME}/"]
        print(f"wrote {', '.join(f'{out}/{name}' for name in names)}")
        if interrupted:
            return EXIT_INTERRUPTED
        return EXIT_SOME if self.failed or self._found.problems else 0

    def _try_models(self, task: BagTask) -> Any:
        self._workers.start(_MODELS, try_models, task)
        while not self._stop.is_set():
            for _, result in self._workers.wait(_POLL_S):
                if isinstance(result, Died):
                    raise BackendError(f"the worker that was to open the models {result.why}")
                if result.problem:
                    raise SettingsError(result.problem)
                if not result.interrupted:
                    return result.runs_on
        raise KeyboardInterrupt

    def _look_for(self, name: str, task: BagTask) -> None:
        """Whether a result is there; of a bag that lies elsewhere now a worker finds out whether it is the same."""
        record = read_record(task.out)
        if record is None or task.again:
            return
        why = record.why_not(task.out, str(task.bag), task.expected)
        if why:
            self._say(name, f"done again: {why}")
        elif record.bag_files == bag_files(task.bag):
            self._keep(name, record)

    def _take(self, name: str, result: Any) -> bool:
        """Whether the bag has to be done again."""
        if isinstance(result, Died) or result.interrupted:
            why = result.why if isinstance(result, Died) else "was told to stop"
            return not self._stop.is_set() and self._lost(name, why)
        if result.problem:
            self._fail(name, result.problem)
            return False
        record = read_record(self._tasks[name].out)
        if record is None:
            self._fail(name, f"its result is not in {self._tasks[name].out}: all machines have to see the same files")
        elif result.kept:
            self._keep(name, record)
        else:
            self._records[name] = record
            self._say(name, f"evaluated in {record.ran['seconds']:.1f} s")
        return False

    def _lost(self, name: str, why: str) -> bool:
        """Whether to try again with another worker."""
        remove_leftover_folders(self._tasks[name].out)
        tried = self.attempts[name]
        if tried >= ATTEMPTS:
            self._fail(name, f"given up: {tried} workers died of it, the last one {why}")
            return False
        print(f"{name}: its worker {why} (attempt {tried} of {ATTEMPTS}): done again", file=sys.stderr, flush=True)
        return True

    def _fail(self, name: str, why: str) -> None:
        self.failed[name] = why
        print(f"{self._place()} {name} failed: {why}", file=sys.stderr, flush=True)

    def _keep(self, name: str, record: BagRecord) -> None:
        self._records[name] = record
        self.kept.add(name)
        self._say(name, "done already")

    def _say(self, name: str, what: str) -> None:
        print(f"{self._place()} {name}: {what}", flush=True)

    def _place(self) -> str:
        return f"[{len(self._records) + len(self.failed)}/{len(self._bags)}]"

    def _timing(self) -> dict[str, Any]:
        return {
            "started": self._started,
            "seconds": time.perf_counter() - self._begin,
            "load_average": round(os.getloadavg()[0], 2),
            "workers": self._workers.about,
            "kept": [name for name in self._bags if name in self.kept],
            "attempts": {name: self.attempts[name] for name in self._bags if self.attempts[name]},
            "bags": {name: self._records[name].ran for name in self._bags if name in self._records},
        }


def _check(settings: Settings, found: FoundBags) -> None:
    out = settings.out
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is a file, expected a folder")
    if not found.bags:
        raise BagError(f"no bag to evaluate: {found.problems[0]}")
    if settings.live:
        raise SettingsError(f"live: got {len(found.bags)} bags and workers, expected one bag alone: leave out --live")
    if not settings.overwrite and not _may_write(out):
        raise OutputError(f"{out}: holds other results already: choose another folder or add --overwrite")
    inside = next((bag.path for bag in found.bags if bag.path.resolve() in out.resolve().parents), None)
    if inside is not None:
        raise SettingsError(f"out: {out} lies inside the bag {inside}: choose another folder")


def _may_write(out: Path) -> bool:
    """Whether there is no result but such as these."""
    try:
        with (out / JSON_NAME).open("rb") as file:
            return FORMAT.encode() in file.read(200)
    except OSError:
        return (out / BAGS_NAME).is_dir() or not (out / REPORT_NAME).exists()


def _refuse_second(out: Path) -> Callable[[float], None]:
    def refuse(_: float) -> None:
        raise OutputError(f"{out}: another evaluate_bag is writing there: wait for it, or choose another folder")

    return refuse


def _remove_half_done(out: Path) -> None:
    """What workers that were killed left behind; nobody else writes there."""
    for folder in (out / BAGS_NAME).glob(".*.partial"):
        shutil.rmtree(folder, ignore_errors=True)


def _threads(settings: Settings) -> int:
    """CPU threads for each bag, 0 = as for one bag alone.

    One of a bag among others, however many are done at a time: another number of threads moves single pixels
    (OpenVINO's of one thread are not those of two), and `--jobs` is to change no score.
    """
    alone = settings.jobs is None and settings.ray is None
    return settings.threads or (0 if alone else 1)


def _open_workers(settings: Settings, bags: int) -> Workers:
    if settings.ray is not None:
        return Cluster(settings.ray, settings.device, settings.threads, settings.jobs)
    return Processes(min(settings.jobs or 1, bags), settings.threads)
