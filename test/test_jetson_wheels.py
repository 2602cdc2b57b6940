"""What a Jetson needs comes as wheels for aarch64 or for any machine, but for pycuda, which is compiled there.

JetPack brings TensorRT, and ROS comes by apt: neither is asked of pip. Skips where no package index is reached.
"""

from __future__ import annotations

import email
import json
import re
import runpy
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import setuptools

BUILT_THERE = "pycuda"
"""The one that has no wheels at all, for no machine."""
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")


class Home(NamedTuple):
    """A JetPack: its Python, the minor version of its glibc 2, and what apt has put there that pip must leave alone."""

    python: str
    glibc: int
    fixed: tuple[str, ...] = ()


HOMES = {
    "JetPack 6, Ubuntu 22.04": Home("310", 35),
    "JetPack 7, Ubuntu 24.04 with the NumPy that cv_bridge is built against": Home("312", 39, ("numpy==1.26.4",)),
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PIP, *arguments], capture_output=True, text=True, timeout=500, check=False)


@pytest.fixture(scope="module")
def declared() -> dict[str, Any]:
    """What setup.py says, without building anything."""
    said: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **arguments: said.update(arguments))
        runpy.run_path(str(Path(__file__).parents[1] / "setup.py"))
    return said


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The requirements of the package that is built on the Jetson."""
    folder = tmp_path_factory.mktemp("source")
    done = run("download", "--no-deps", "--dest", str(folder), "tqdm")
    if done.returncode != 0:
        pytest.skip(f"no package index is reached here: {done.stderr.strip().splitlines()[-1:]}")
    only_the_source = ("--no-deps", "--no-binary", BUILT_THERE, "--no-build-isolation")
    done = run("download", *only_the_source, "--dest", str(folder), BUILT_THERE)
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(folder.glob(f"{BUILT_THERE}-*.tar.gz"))) as archive:
        member = next(m for m in archive.getmembers() if re.fullmatch(r"[^/]+/PKG-INFO", m.name))
        stream = archive.extractfile(member)
        assert stream is not None
        return email.message_from_bytes(stream.read()).get_all("Requires-Dist") or []


def test_tensorrt_and_ros_are_not_asked_of_pip(declared: dict[str, Any]) -> None:
    assert not [requirement for requirement in asked(declared) if re.match(r"tensorrt|ros-", requirement)]
    assert all(requirement.startswith(BUILT_THERE) for requirement in declared["extras_require"]["gpu"])


def asked(declared: dict[str, Any]) -> list[str]:
    """What `pip install '.[gpu,cpu,bags]'` asks for."""
    extras = declared["extras_require"]
    return [*declared["install_requires"], *extras["gpu"], *extras["cpu"], *extras["bags"]]


@pytest.mark.slow
@pytest.mark.parametrize("home", HOMES.values(), ids=HOMES)
def test_all_of_it_is_to_be_had_there(declared: dict[str, Any], source: list[str], home: Home, tmp_path: Path) -> None:
    wanted = [r for r in asked(declared) if not r.startswith(BUILT_THERE)] + source
    tags = [f"manylinux_2_{minor}_aarch64" for minor in range(home.glibc, 16, -1)] + ["manylinux2014_aarch64"]
    platforms = [word for tag in tags for word in ("--platform", tag)]
    report = tmp_path / "report.json"
    done = run(
        "install", "--dry-run", "--ignore-installed", "--quiet", "--target", str(tmp_path / "target"),
        "--only-binary=:all:", "--python-version", home.python, *platforms, "--report", str(report),
        *wanted, *home.fixed,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {
        re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(): item["download_info"]["url"].rpartition("/")[2]
        for item in json.loads(report.read_text())["install"]
    }
    assert {re.split(r"[^\w-]", requirement)[0].lower() for requirement in wanted} <= set(found)
    assert not [file for file in found.values() if not re.search(r"(-any|aarch64)\.whl$", file)]
