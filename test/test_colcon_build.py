"""`colcon build`, copying and with links: what a ROS 2 workspace gets, below a path with a space."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from package_copy import copy_package, installed_files

TOOLS = (
    "colcon_core",
    "colcon_bash",
    "colcon_ros",
    "colcon_python_setup_py",
    "colcon_recursive_crawl",
    "catkin_pkg",
    "setuptools",
)
LINKS = "--symlink-install"


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    ros = ("AMENT_PREFIX_PATH", "COLCON_PREFIX_PATH", "CMAKE_PREFIX_PATH")
    own = {name: value for name, value in os.environ.items() if name not in ros} | environment
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=500, check=False)


class Workspace:
    """A colcon workspace that holds a copy of the package."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = copy_package(folder / "src" / "dannet_ros")
        self.prefix = folder / "install" / "dannet_ros"

    def build(self, *options: str) -> None:
        for name in TOOLS:
            pytest.importorskip(name, reason="colcon builds the workspace: .ci/without_dependencies.txt")
        done = run([sys.executable, "-m", "colcon", "--log-base", "log", "build", *options], self.folder)
        assert done.returncode == 0, done.stdout + done.stderr

    def sourced(self, *command: str) -> str:
        """What a command prints in a shell that has sourced the workspace."""
        script = f". {shlex.quote(str(self.folder / 'install' / 'setup.bash'))} && exec {shlex.join(command)}"
        done = run(["bash", "-c", script], self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ros2 ws")


@pytest.mark.slow
@pytest.mark.parametrize("ways", [("",), (LINKS,), ("", LINKS, "")], ids=["copies", "links", "one after the other"])
def test_everything_is_installed_runs_and_leaves_the_source_as_it_was(
    workspace: Workspace, ways: tuple[str, ...]
) -> None:
    before = sorted(workspace.source.rglob("*"))
    for way in ways:
        workspace.build(*filter(None, [way]))
        missing = {name for name in installed_files() if not (workspace.prefix / name).exists()}
        assert not missing
        for path in [*workspace.prefix.glob("lib/dannet_*/*"), workspace.prefix / "bin" / "dannet"]:
            assert os.access(path, os.X_OK), path
        assert (workspace.prefix / "share/dannet_ros/launch/night_seg.launch.py").is_symlink() == (way == LINKS)
    script = "import dannet_core, importlib.metadata as m; print(dannet_core.__file__); m.distribution('dannet_ros')"
    package = Path(workspace.sourced(sys.executable, "-B", "-c", script)).parent
    assert package.is_relative_to(workspace.folder)
    for name in ("models/demo.onnx", "inference/kernels/frame.cu", "inference/kernels/frame_math.cuh", "py.typed"):
        assert (package / name).is_file(), name
    executable = str(workspace.prefix / "lib/dannet_core/predict")
    assert workspace.sourced(sys.executable, "-B", executable, "--help").startswith("usage: dannet predict ")
    assert workspace.sourced("printenv", "AMENT_PREFIX_PATH").split(":")[0] == str(workspace.prefix)
    assert sorted(workspace.source.rglob("*")) == before


@pytest.mark.slow
def test_links_show_an_edit_without_another_build(workspace: Workspace) -> None:
    workspace.build(LINKS)
    with (workspace.source / "dannet_core" / "errors.py").open("a") as file:
        file.write("\nEDITED = 'since the build'\n")
    with (workspace.source / "config" / "night_seg.param.yaml").open("a") as file:
        file.write("# edited\n")
    shown = workspace.sourced(sys.executable, "-B", "-c", "from dannet_core import errors; print(errors.EDITED)")
    assert shown == "since the build"
    assert (workspace.prefix / "share/dannet_ros/config/night_seg.param.yaml").read_text().endswith("# edited\n")


# In place of colcon's own folder of links: only what setup.py declares is there, so no README.md.
AS_SETUPTOOLS_80 = """
import runpy, sys
import setuptools
setuptools.__version__ = "80.0.0"
sys.argv[0] = "setup.py"
runpy.run_path("setup.py", run_name="__main__")
"""


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    pytest.importorskip("setuptools")
    source, build = copy_package(tmp_path / "source"), tmp_path / "build folder"
    build.mkdir()
    for name in ("setup.py", "dannet_core", "dannet_ros", "launch", "config", "resource", "package.xml"):
        (build / name).symlink_to(source / name)
    return build


def test_develop_without_setuptools_own_makes_metadata_and_the_console_script(linked: Path, tmp_path: Path) -> None:
    develop = ["develop", "--editable", "--build-directory", str(linked / "build"), "--no-deps"]
    command = [sys.executable, "-c", AS_SETUPTOOLS_80, *develop]
    done = run([*command, "install_scripts", "--install-dir", str(tmp_path / "bin")], linked)
    assert done.returncode == 0, done.stderr
    help_ = run([sys.executable, str(tmp_path / "bin" / "dannet"), "--help"], tmp_path, PYTHONPATH=path_with(linked))
    assert help_.stdout.startswith("usage: dannet VERB"), help_.stderr
    assert (
        (linked / "dannet_ros.egg-info" / "entry_points.txt").read_text().strip().endswith("dannet_core.cli.main:main")
    )
    listed = (linked / "dannet_ros.egg-info" / "PKG-INFO").read_text(encoding="utf-8")
    assert "# DANNet ROS" in listed  # the README, which is not in the folder of links
    undone = run([sys.executable, "-c", AS_SETUPTOOLS_80, "develop", "--uninstall", *develop[1:4]], linked)
    assert undone.returncode == 0, undone.stderr


def path_with(folder: Path) -> str:
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_colcon_finds_the_options_it_asks_for_whatever_the_setuptools(linked: Path) -> None:
    for program in (AS_SETUPTOOLS_80, "import runpy, sys; sys.argv[0] = 'setup.py'; runpy.run_path('setup.py')"):
        done = run([sys.executable, "-c", program, "--help", "develop"], linked)
        assert {"--editable", "--build-directory", "--no-deps", "--uninstall"} <= set(done.stdout.split()), done.stderr


def test_develop_by_hand_is_one_line_that_names_pip(linked: Path) -> None:
    done = run([sys.executable, "-c", AS_SETUPTOOLS_80, "develop"], linked)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].endswith("use: pip install --editable .")
