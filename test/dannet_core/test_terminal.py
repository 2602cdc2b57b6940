"""A closed terminal, a reader that has gone: what is shown ends, the work and its files do not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hangup import hangups_heard

from dannet_core.terminal import output_may_go_unread, stop_signals

pytest.importorskip("torch", reason="trains a network")

TRAIN = (
    "--device", "cpu", "--data.workers", "1", "--model.arch", "lraspp", "--model.relighting_width", "4",
    "--model.discriminator_width", "4", "--crop.source", "64", "64", "--crop.target", "64", "96",
    "--watch.log_every", "1", "--watch.evaluate_every", "0", "--watch.checkpoint_every", "0", "--no-watch.tensorboard",
)  # fmt: skip


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """A toy city of a few pictures."""
    from dannet_core.cli.main import main

    root = tmp_path_factory.mktemp("city") / "toy"
    sizes = ("--size", "90", "160", "--source", "3", "--pairs", "3", "--validation", "2")
    assert main(["toy_city", "--out", str(root), *sizes]) == 0
    return root


@pytest.fixture
def training(city, tmp_path):
    """Starts `dannet train` of so many steps, in a session of its own; waits until it has made two."""
    started = []

    def start(steps, prefix=(), **streams):
        data = ("--data.source", city / "cityscapes", "--data.target", city / "dark_zurich")
        command = [*prefix, sys.executable, "-m", "dannet_core", "train", *TRAIN, *map(str, data)]
        command += ["--run_dir", str(tmp_path / "run"), "--optimiser.steps", str(steps)]
        with hangups_heard():
            process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, **streams)
        started.append(process)
        log, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 120
        while not (log.exists() and log.read_text().count("\n") >= 2):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return process, tmp_path / "run"

    yield start
    for process in started:
        process.kill()
        process.wait()


def last_step(run):
    """Of the newest checkpoint."""
    return max(int(path.stem.removeprefix("step_")) for path in (run / "checkpoints").glob("*.pt"))


def test_a_training_goes_on_when_nobody_reads_what_it_shows_any_more(training):
    process, run = training(12, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert last_step(run) == 12


def test_a_training_whose_reader_was_stopped_with_it_saves_its_steps(training):
    process, run = training(10_000, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    process.stdout.close()
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=120) == 0
    assert last_step(run) >= 2


def test_a_training_whose_terminal_is_closed_saves_its_steps(training):
    terminal, side = os.openpty()
    process, run = training(10_000, stdout=side, stderr=side)
    os.close(side)
    os.close(terminal)
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(timeout=120) == 0
    assert last_step(run) >= 2


def test_under_nohup_a_training_outlives_its_terminal(training):
    process, run = training(12, prefix=("nohup",), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(timeout=120) == 0
    assert last_step(run) == 12


def test_what_is_kept_back_for_a_reader_that_has_gone_is_no_error_at_the_end():
    script = "import sys; from dannet_core.cli.main import main; input(); sys.exit(main(['--help']))"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate("go\n", timeout=60)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize("words", [("--help",), ("train", "--print-config")])
def test_a_full_disk_under_what_was_asked_for_is_an_error(words):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "dannet_core", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, line) == (2, f"{line.partition(': ')[0]}: stdout: cannot write: No space left on device")


def test_a_full_disk_under_what_is_shown_does_not_end_a_training(training):
    with Path("/dev/full").open("w") as full:
        process, run = training(4, stdout=full, stderr=full)
    process.wait(timeout=120)
    assert last_step(run) == 4
    assert (run / "last.safetensors").is_file()


def test_streams_are_given_back_as_they_were():
    before = sys.stdout, sys.stderr
    with output_may_go_unread():
        assert sys.stdout.fileno() == before[0].fileno()
        assert sys.stdout.isatty() == before[0].isatty()
    assert (sys.stdout, sys.stderr) == before


def test_a_hangup_that_is_ignored_asks_for_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert signal.SIGHUP in stop_signals()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert signal.SIGHUP not in stop_signals()
    finally:
        signal.signal(signal.SIGHUP, before)
