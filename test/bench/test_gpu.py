"""`bench/gpu.py` without a GPU: what it says, how it runs stages, and the figures that stages leave."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

NAMES = ["facts", "tests", "kernels", "frame", "networks", "training", "tensorrt", "node", "cameras"]


@pytest.fixture
def gpu(bench_program):
    return bench_program("gpu")


def dry_lines(python: Path | str, repository: Path, *words: str) -> dict[str, str]:
    """What is said of each stage, by its name."""
    command = [str(python), str(repository / "bench" / "gpu.py"), "--dry-run", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env={"PATH": "/nowhere"})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    return {line[0]: line[3] for line in lines if line[0] in NAMES}


def test_a_bare_python_says_of_every_stage_what_it_would_do_or_what_is_missing(tmp_path, repository):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    said = dry_lines(tmp_path / "bare" / "bin" / "python", repository)
    assert list(said) == NAMES
    assert said["facts"].startswith("would name the machine")
    assert all(
        line.startswith("skipped: numpy is not installed: pip install numpy; cv2") for line in list(said.values())[1:]
    )
    assert "pycuda is not installed: pip install 'dannet_ros[gpu]', or --wheels DIR with its wheel" in said["kernels"]
    assert "TensorRT is not installed" in said["tensorrt"]
    assert "rclpy is not installed" in said["node"]


def test_wheels_count_as_here_before_they_are_installed(tmp_path, repository):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python, wheels = tmp_path / "bare" / "bin" / "python", tmp_path / "wheels"
    wheels.mkdir()
    for name in ("pycuda", "opencv_python_headless", "numpy", "PyYAML", "pillow", "tqdm", "nvidia_cuda_nvrtc"):
        (wheels / f"{name}-1.0-py3-none-any.whl").touch()
    said = dry_lines(python, repository, "--wheels", str(wheels), "--stages", "kernels,tensorrt")
    assert said["kernels"].startswith("would compare both kernels")
    assert said["tensorrt"].startswith("skipped: TensorRT is not installed")


def test_without_a_gpu_it_is_one_line_and_2(gpu, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu, "find_gpu", lambda: "")
    assert gpu.run_all(gpu.parse(["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out.json")])) == 2
    assert capsys.readouterr().err.splitlines() == [
        "gpu: no NVIDIA GPU or no driver here: --dry-run says what would be measured"
    ]
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_stage_or_folder_is_one_line_and_2(repository):
    for words, said in (
        (["--stages", "fats"], "got 'fats', expected some of facts,"),
        (["--wheels", "/no"], "no such"),
    ):
        command = [sys.executable, str(repository / "bench" / "gpu.py"), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 2
        assert said in done.stderr.splitlines()[-1]


def write(value: str) -> str:
    return f"import json, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(json.dumps({value}))"


def test_a_crash_or_a_hang_costs_one_stage_and_every_figure_is_kept(gpu, monkeypatch, tmp_path):
    out, pid = tmp_path / "out.json", tmp_path / "pid"
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    hang = (
        f"import pathlib, subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {deaf!r}]); "
        f"pathlib.Path({str(pid)!r}).write_text(str(p.pid)); print('hanging', flush=True); {deaf}"
    )
    look_back = f"import json; kept = json.load(open({str(out)!r})); " + write("{'stages': list(kept['stages'])}")

    wrong = {key: {"equal": False} for key in "abcd"} | {"good": {"equal": True}, "a": {"failed": "X: y"}}

    def stage(name, code, needs=(), limit_s=60):
        return gpu.Stage(name, limit_s, "do it", needs, ("-c", code, "{record}"))

    stages = (
        stage("first", write("{'ms': 3}")),
        stage("crash", write("{'half': 1}") + "; import os; os.abort()"),
        stage("hang", hang, limit_s=11),
        stage("lacks", "raise SystemExit(1)", needs=("pycuda",)),
        stage("refused", write("{'failures': {'pspnet': 'no such target'}}")),
        stage("wrong", write(repr(wrong)) + "; sys.exit(1)"),
        stage("after", look_back),
    )
    monkeypatch.setattr(gpu, "STAGES", stages)
    monkeypatch.setattr(gpu, "find_gpu", lambda: "H000")
    monkeypatch.setattr(gpu, "look", lambda _: type("", (gpu.Here,), {"has": lambda _, need: need == "GPU"})("H000"))
    monkeypatch.setattr(gpu, "KILL_AFTER_S", 1.0)
    given = gpu.parse(["--work", str(tmp_path / "work"), "--out", str(out), "--budget", "200"])
    given.stages = tuple(one.name for one in stages)
    assert gpu.run_all(given) == 1
    results = json.loads(out.read_text())
    entries = results["stages"]
    assert {name: entry["state"] for name, entry in entries.items()} == {
        "first": "done",
        "crash": "failed: exit code -6",
        "hang": "timed out: after 11 s",
        "lacks": "skipped: pycuda is not installed: pip install 'dannet_ros[gpu]', or --wheels DIR with its wheel",
        "refused": "failed: pspnet: no such target",
        "wrong": "failed: a; b; c and 1 more",
        "after": "done",
    }
    assert (entries["first"]["figures"], entries["crash"]["figures"]) == ({"ms": 3}, {"half": 1})
    assert entries["hang"]["words"] == ["hanging"]
    assert entries["after"]["figures"] == {"stages": ["first", "crash", "hang", "lacks", "refused", "wrong"]}
    deadline_s = time.monotonic() + 20
    while Path(f"/proc/{pid.read_text()}").exists() and "zombie" not in status_of(pid.read_text()):
        assert time.monotonic() < deadline_s, "what a hung stage started is ended with it"
        time.sleep(0.1)


def status_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "zombie"


def test_a_stage_without_time_is_skipped_and_says_so(gpu, tmp_path):
    stage = gpu.Stage("x", 60, "do it", (), ("-c", "raise SystemExit(1)"))
    here = gpu.Here("H000")
    entry = gpu.run_stage(stage, gpu.Given(tmp_path), here, {}, gpu.Budget(5.0))
    assert entry == {"state": "skipped: 5 s left of 5 s"}


def test_the_wheels_are_installed_without_touching_the_python_that_runs(gpu, tmp_path):
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    wheels.mkdir()
    assert "no *.whl there" in gpu.install_wheels(wheels, site)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "made_for_a_test.py").write_text("VALUE = 3\n")
    (tmp_path / "src" / "setup.py").write_text(
        "from setuptools import setup; setup(name='made_for_a_test', version='1', py_modules=['made_for_a_test'])"
    )
    words = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(wheels), str(tmp_path / "src")]
    made = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *words], capture_output=True, text=True, timeout=300, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"no wheel can be built here: {made.stderr[-200:]}")
    assert gpu.install_wheels(wheels, site) == ""
    assert (site / "made_for_a_test.py").is_file()
    (wheels / "broken-1.0-py3-none-any.whl").write_bytes(b"")
    assert gpu.install_wheels(wheels, site) != ""


def test_a_function_that_the_driver_dropped_is_brought_for_pycuda(gpu, tmp_path):
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc here: apt install gcc")
    package = tmp_path / "path" / "pycuda"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (tmp_path / "x.c").write_text("int cuOld(void); int cuOlder(void); int f(void) { return cuOld() + cuOlder(); }\n")
    library = package / "linked.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "x.c")], check=True, timeout=60)
    (package / "driver.py").write_text(
        f"import ctypes\ntry:\n    f = ctypes.CDLL({str(library)!r}).f\n"
        "except OSError as error:\n    raise ImportError(str(error)) from None\n"
    )
    environment = {"PYTHONPATH": str(tmp_path / "path"), "PATH": "/usr/bin:/bin"}
    preload, why = gpu.load_pycuda(tmp_path, environment)
    assert why == ""
    ask = "import pycuda.driver; print(pycuda.driver.f())"
    done = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, timeout=60, check=True,
        env=gpu.with_preload(environment, preload),
    )  # fmt: skip
    assert done.stdout == "1602\n"
    (package / "driver.py").write_text("raise ImportError('libcurand.so.10: cannot open')\n")
    assert gpu.load_pycuda(tmp_path, environment) == ("", "ImportError: libcurand.so.10: cannot open")


def test_figures_are_kept_as_they_come_and_a_failure_is_one(bench_program, tmp_path, capsys):
    bench_program("gpu")
    from gpu_stages.record import Record

    path = tmp_path / "stage.json"
    record = Record(path, 100.0)
    assert record.attempt("good", lambda: 3) == 3
    assert record.exit_code() == 0
    assert record.attempt("bad", lambda: 1 / 0) is None
    assert record.attempt("late", lambda: 3, needs_s=1000.0) is None
    record.check("unequal", lambda: {"equal": False, "us": 5})
    assert json.loads(path.read_text()) == {
        "good": 3,
        "bad": {"failed": "ZeroDivisionError: division by zero"},
        "late": {"skipped": "100 s left of 100 s"},
        "unequal": {"equal": False, "us": 5},
    }
    assert (record.failures, record.exit_code()) == (2, 1)
    assert [one.name for one in tmp_path.iterdir()] == ["stage.json"]


def test_results_say_nothing_of_where_things_lie(gpu, repository):
    said = {"failed": f"{sys.prefix}/bin/python {repository}/bench/x.py", "ms": {"p50": 1.5}}
    assert gpu.without_places(said) == {"failed": "PYTHON/bin/python ./bench/x.py", "ms": {"p50": 1.5}}


def test_an_environment_inside_the_repository_is_still_told_from_it(gpu, repository, monkeypatch):
    monkeypatch.setattr(sys, "prefix", f"{repository}/.venv")
    said = f"{repository}/.venv/bin/python {repository}/bench/x.py"
    assert gpu.without_places(said) == "PYTHON/bin/python ./bench/x.py"
