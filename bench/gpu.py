"""Everything worth measuring on an NVIDIA GPU, in order of value, within a budget of time.

    python bench/gpu.py --budget 560                            # any Python: a stage that lacks something is skipped
    python bench/gpu.py --wheels wheels/ --released ../DANNet   # without network; with the ratio to the released code
    python bench/gpu.py --dry-run                               # without a GPU: what each stage would do, or why not
    make bench-gpu                                              # installs what is missing where there is a network

Each stage is a process of its own with a limit of its own, so that a crash or a hang costs one stage. After every stage
all figures so far are in --out, whole. The exit code is 0 where every stage ran or was skipped, 1 where one failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))

from gpu_stages.here import Here, find_gpu, install_wheels, load_pycuda, look, with_preload  # noqa: E402 - after the path
from gpu_stages.plan import NAMES, STAGES, Given, Stage, gpu_test_files, reason_against  # noqa: E402 - after the path
from gpu_stages.record import write_json  # noqa: E402 - after the path

LEAST_S: Final = 10.0
"""A stage that has less is not begun."""
KILL_AFTER_S: Final = 5.0
WORDS_KEPT: Final = 20
NAMED: Final = 3
"""Figures named where more than these failed."""


class Budget:
    """The time for all stages together."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._began_s = time.monotonic()

    def spent_s(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began_s

    def left_s(self) -> float:
        """Until the end."""
        return self.seconds - self.spent_s()


def run_command(command: list[str], environment: dict[str, str], limit_s: float, log: Path) -> tuple[str, float]:
    """Run a stage's process group; what it says goes to ``log``.

    Returns:
        (how it ended: ``done``, ``failed: ...`` or ``timed out: ...``, seconds).
    """
    began_s = time.monotonic()
    with log.open("w") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
            ended = "done" if code == 0 else f"failed: exit code {code}"
        except subprocess.TimeoutExpired:
            ended = f"timed out: after {limit_s:.0f} s"
        finally:
            end_group(process)
    return ended, time.monotonic() - began_s


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a stage with all that it started: gently first, a hung driver call at last."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            continue
        if number == signal.SIGTERM:
            time.sleep(0.2)  # its children may need a moment too
    process.poll()


def last_words(log: Path) -> list[str]:
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return [line[:300] for line in lines if line.strip()][-WORDS_KEPT:]


def without_places(value: Any) -> Any:
    """Results are published: where things lie on this machine is nobody's business."""
    text = json.dumps(value, default=str)
    places = {str(Path.home()): "~", str(ROOT): ".", sys.prefix: "PYTHON"}
    for place, name in sorted(places.items(), key=lambda one: -len(one[0])):  # one may lie inside another
        text = text.replace(place, name) if len(place) > 1 else text
    return json.loads(text)


def failed_figures(figures: dict[str, Any]) -> list[str]:
    """Names of those that failed or are not equal to what they should be, and what `bench/inference.py` did not run."""
    bad = [name for name, one in figures.items() if isinstance(one, dict) and not one.get("equal", "failed" not in one)]
    return bad + [f"{name}: {said}" for name, said in dict(figures.get("failures") or {}).items()]


def figures_of(path: Path) -> dict[str, Any]:
    """What a stage left; a stage that was cut short leaves what it had."""
    try:
        figures = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        return {"unreadable": str(error)}
    return figures if isinstance(figures, dict) else {"figures": figures}


def run_stage(stage: Stage, given: Given, here: Here, environment: dict[str, str], budget: Budget) -> dict[str, Any]:
    """One stage's entry in the results."""
    against = reason_against(stage, given, here)
    if against:
        return {"state": f"skipped: {against}"}
    limit_s = min(float(stage.limit_s), budget.left_s())
    if limit_s < LEAST_S:
        return {"state": f"skipped: {max(0.0, budget.left_s()):.0f} s left of {budget.seconds:.0f} s"}
    stage.record(given).unlink(missing_ok=True)
    log = given.work / f"{stage.name}.log"
    # A stage ends its own measurements in time; the limit here is for one that hangs.
    command = stage.command(given, limit_s - min(10.0, limit_s / 5))
    ended, seconds = run_command(command, environment, limit_s, log)
    figures = figures_of(stage.record(given))
    bad = failed_figures(figures)
    if bad and not ended.startswith("timed out") and not ended.startswith("failed: exit code -"):
        ended = f"failed: {'; '.join(bad[:NAMED])}" + (f" and {len(bad) - NAMED} more" if len(bad) > NAMED else "")
    entry: dict[str, Any] = {"state": ended, "seconds": round(seconds, 1), "figures": figures}
    return without_places(entry if ended == "done" and figures else entry | {"words": last_words(log)})


def child_environment(site: Path | None, work: Path) -> dict[str, str]:
    """For stages: this project and the wheels before what the caller has on the path."""
    path = [str(ROOT / "bench"), str(ROOT), *([str(site)] if site else []), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, path)), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    caches = work / "caches"
    caches.mkdir(parents=True, exist_ok=True)
    return os.environ | own | {"PYCUDA_CACHE_DIR": str(caches), "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor")}


def prepare(arguments: argparse.Namespace) -> tuple[Here, dict[str, str]]:
    """Install the wheels, try pycuda; what is here then, and the environment of the stages."""
    site = arguments.work / "site" if arguments.wheels else None
    refused = install_wheels(arguments.wheels, site) if site else ""
    if refused:
        print(f"gpu: {arguments.wheels}: not installed: {refused}", flush=True)
    if site:
        sys.path.insert(0, str(site))
    here, environment = look(None), child_environment(site, arguments.work)
    if here.gpu and here.has("pycuda"):
        preload, why = load_pycuda(arguments.work, environment)
        environment = with_preload(environment, preload)
        if why:
            here.broken["pycuda"] = why
    return here, environment


def dry_run(arguments: argparse.Namespace) -> None:
    """What each stage would do here, or why not; nothing is installed, written or run."""
    here = look(arguments.wheels)
    given = Given(arguments.work, arguments.released, gpu_test_files(here))
    print(f"dry run: {here.summary()}")
    if not here.gpu:
        print("no NVIDIA GPU or no driver here: said as if there were one")
    for stage in STAGES:
        if stage.name not in arguments.stages:
            continue
        against = reason_against(stage, given, here, assume_gpu=True)
        said = f"skipped: {against}" if against else f"would {stage.described(given)}"
        print(f"{stage.name:<9} {stage.limit_s:>4} s  {said}")
    print(f"at most {arguments.budget:.0f} s together; figures after every stage in {arguments.out}")


def commit() -> str:
    try:
        ask = ["git", "rev-parse", "--short", "HEAD"]
        return subprocess.run(ask, capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip()
    except OSError:
        return ""


def run_all(arguments: argparse.Namespace) -> int:
    budget = Budget(arguments.budget)
    if not find_gpu():
        print("gpu: no NVIDIA GPU or no driver here: --dry-run says what would be measured", file=sys.stderr)
        return 2
    arguments.work.mkdir(parents=True, exist_ok=True)
    here, environment = prepare(arguments)
    given = Given(arguments.work, arguments.released, gpu_test_files(here))
    print(here.summary(), flush=True)
    results: dict[str, Any] = {"gpu": here.gpu, "here": here.summary(), "commit": commit(), "stages": {}}
    for stage in STAGES:
        if stage.name not in arguments.stages:
            continue
        entry = run_stage(stage, given, here, environment, budget)
        results["stages"][stage.name] = entry
        results["seconds"] = round(budget.spent_s(), 1)
        write_json(arguments.out, results)
        print(f"{stage.name:<9} {entry.get('seconds', 0):>6} s  {entry['state']}", flush=True)
    print(f"wrote {arguments.out} after {budget.spent_s():.0f} s")
    return int(any(not entry["state"].startswith(("done", "skipped")) for entry in results["stages"].values()))


def stage_names(text: str) -> tuple[str, ...]:
    names = tuple(filter(None, text.split(",")))
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"got '{text}', expected some of {','.join(NAMES)}")
    return names


def folder(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: no such folder")
    return path


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=560.0, help="seconds for all stages together")
    parser.add_argument("--stages", type=stage_names, default=NAMES, help=f"only these, of {','.join(NAMES)}")
    parser.add_argument("--wheels", type=folder, help="folder of wheels to use beside what is installed")
    parser.add_argument("--released", type=folder, help="a checkout of the released code, for the ratios")
    parser.add_argument("--work", type=Path, default=ROOT / "bench" / "work" / "gpu", help="models, logs, caches")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "gpu.json")
    parser.add_argument("--dry-run", action="store_true", help="say what each stage would do, or why not")
    arguments = parser.parse_args(words)
    arguments.work = arguments.work.resolve()
    return arguments


def main() -> int:
    arguments = parse()
    if arguments.dry_run:
        dry_run(arguments)
        return 0
    return run_all(arguments)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("gpu: interrupted: the stages before this one are in --out")
