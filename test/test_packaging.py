"""What a user installs: one distribution, two ament names, executables where `ros2 run` looks for them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dannet_core import __version__
from dannet_core.cli.main import VERBS


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package installed by pip below a prefix of its own, from a copy of the tracked files."""
    source = tmp_path_factory.mktemp("source") / "repository"
    repository = Path(__file__).resolve().parents[1]
    wanted = ("dannet_core", "dannet_ros", "launch", "config", "resource", "setup.py", "package.xml", "README.md")
    for name in (*wanted, "pyproject.toml", "LICENSE"):
        copy = shutil.copytree if (repository / name).is_dir() else shutil.copy2
        source.mkdir(exist_ok=True)
        copy(repository / name, source / name)
    prefix = tmp_path_factory.mktemp("prefix")
    # Without --ignore-installed pip would first uninstall the package from the environment that runs the tests.
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--ignore-installed", "--prefix", str(prefix)]
    command = ["pip", "install", *options, str(source)]
    result = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=110, check=False)
    if "No module named 'setuptools'" in result.stderr or "BackendUnavailable" in result.stderr:
        pytest.skip("setuptools is not installed here, so pip cannot build without fetching it")
    assert result.returncode == 0, result.stderr
    return prefix


def run_installed(prefix: Path, *command: str) -> subprocess.CompletedProcess[str]:
    packages = next(prefix.glob("lib/python*/site-packages"))
    path = os.pathsep.join([str(packages), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=60, check=False,
        cwd=prefix, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def test_both_names_are_in_the_ament_index_with_their_share_folders(prefix):
    for name in ("dannet_ros", "dannet_core"):
        assert (prefix / "share/ament_index/resource_index/packages" / name).is_file()
        assert f"<version>{__version__}</version>" in (prefix / "share" / name / "package.xml").read_text()


def test_launch_file_and_configuration_are_where_ros2_launch_looks(prefix):
    for name in ("night_seg", "night_seg_multi"):
        assert (prefix / f"share/dannet_ros/launch/{name}.launch.py").is_file()
    files = ("night_seg.param.yaml", "fastdds.xml", "night_seg.rviz", "night_seg.foxglove.json", "sros2.policy.xml")
    for name in files:
        assert (prefix / "share/dannet_ros/config" / name).is_file()


def test_the_kernels_sources_are_installed(prefix):
    kernels = next(prefix.glob("lib/python*/site-packages")) / "dannet_core" / "inference" / "kernels"
    assert {"frame.cu", "frame_math.cuh"} <= {path.name for path in kernels.iterdir()}


def test_every_verb_and_node_is_an_executable_with_a_portable_first_line(prefix):
    installed = {path for name in ("dannet_core", "dannet_ros") for path in (prefix / "lib" / name).iterdir()}
    assert {path.name for path in installed if path.parent.name == "dannet_core"} == set(VERBS)
    assert {"night_seg", "make_bag", "bag_frames", "evaluate_bag", "play"} <= {path.name for path in installed}
    for path in installed:
        assert os.access(path, os.X_OK)
        assert path.read_text().splitlines()[0] == "#!/usr/bin/env python3"


@pytest.mark.parametrize("verb", VERBS)
def test_an_installed_verb_shows_its_help(prefix, verb):
    result = run_installed(prefix, str(prefix / "lib/dannet_core" / verb), "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: dannet {verb} ")


def test_the_installed_package_is_the_one_that_runs_and_knows_its_version(prefix):
    result = run_installed(prefix, "-c", "import dannet_core as d; print(d.__version__, d.__file__)")
    version, path = result.stdout.split()
    assert version == __version__
    assert Path(path).is_relative_to(prefix)
