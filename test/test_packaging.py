"""What a user installs: one distribution, two ament names, executables where `ros2 run` looks for them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from package_copy import copy_package, installed_files

from dannet_core import __version__
from dannet_core.cli.main import VERBS


def pip_install(source: Path, prefix: Path, *options: str) -> Path:
    # Without --ignore-installed pip would first uninstall the package from the environment that runs the tests.
    fixed = ["--quiet", "--no-deps", "--no-build-isolation", "--ignore-installed", "--prefix", str(prefix)]
    command = [sys.executable, "-m", "pip", "install", *fixed, *options, str(source)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    if "No module named 'setuptools'" in result.stderr or "BackendUnavailable" in result.stderr:
        pytest.skip("setuptools is not installed here, so pip cannot build without fetching it")
    assert result.returncode == 0, result.stderr
    return prefix


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package installed by pip below a prefix of its own, from a copy of what is built."""
    return pip_install(
        copy_package(tmp_path_factory.mktemp("source") / "with space"), tmp_path_factory.mktemp("prefix")
    )


def run_installed(prefix: Path, *command: str) -> subprocess.CompletedProcess[str]:
    packages = next(prefix.glob("lib/python*/site-packages"))
    path = os.pathsep.join([str(packages), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=300, check=False,
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


def test_the_templates_of_the_reports_are_installed(prefix):
    templates = next(prefix.glob("lib/python*/site-packages")) / "dannet_core/report/templates"
    source = Path(__file__).parents[1] / "dannet_core/report/templates"
    assert {path.name for path in templates.iterdir()} == {path.name for path in source.iterdir()}
    assert {"base.html.j2", "page.css", "page.js"} <= {path.name for path in templates.iterdir()}


def test_every_verb_and_node_is_an_executable_with_a_portable_first_line(prefix):
    installed = {path for name in ("dannet_core", "dannet_ros") for path in (prefix / "lib" / name).iterdir()}
    assert {path.name for path in installed if path.parent.name == "dannet_core"} == set(VERBS)
    assert {"night_seg", "make_bag", "bag_frames", "evaluate_bag", "pair_drives", "play"} <= {
        path.name for path in installed
    }
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


def test_an_editable_installation_has_both_ament_names_launch_files_and_executables(tmp_path):
    source = copy_package(tmp_path / "with space")
    prefix = pip_install(source, tmp_path / "pre fix", "--editable")
    assert not {name for name in installed_files() if not (prefix / name).is_file()}
    assert all(os.access(path, os.X_OK) for path in prefix.glob("lib/dannet_*/*"))
    site = next(prefix.glob("lib/python*/site-packages"))
    find = "import importlib.util as u; print(u.find_spec('dannet_core').origin)"
    script = f"import site; site.addsitedir({str(site)!r}); {find}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    assert done.stdout.strip().startswith(str(source / "dannet_core")), done.stderr


def test_the_metadata_can_be_searched_and_names_what_it_runs_on(prefix):
    script = "import importlib.metadata as m, json; print(json.dumps(m.metadata('dannet_ros').items()))"
    fields = json.loads(run_installed(prefix, "-c", script).stdout)
    keywords = {word for name, value in fields if name == "Keywords" for word in value.split(",")}
    assert {"ros2", "semantic segmentation", "night"} <= keywords
    assert ["Project-URL", "Paper, https://arxiv.org/abs/2104.10834"] in fields
    versions = {value.rpartition(" ")[2] for name, value in fields if name == "Classifier" and "Python :: 3." in value}
    assert versions == {"3.10", "3.11", "3.12", "3.13"}
    assert ["License", "Apache-2.0"] in fields


def test_the_manifest_of_ros_and_the_metadata_agree(repository):
    manifest = ET.fromstring((repository / "package.xml").read_text())  # noqa: S314 - our own file
    setup = (repository / "setup.py").read_text()
    assert manifest.findtext("name") == "dannet_ros"
    assert manifest.findtext("version") == __version__
    assert manifest.findtext("export/build_type") == "ament_python"
    for field in ("license", "url"):
        assert f'"{manifest.findtext(field)}"' in setup


def test_what_only_nvidia_hands_out_is_an_extra_of_its_own(prefix):
    script = "import importlib.metadata as m, json; print(json.dumps(m.requires('dannet_ros')))"
    requires = json.loads(run_installed(prefix, "-c", script).stdout)
    extras = {}
    for line in requires:
        name, _, extra = line.partition("extra == ")
        extras.setdefault(extra.strip(" '\")"), []).append(name)
    assert [line.split(">")[0] for line in extras["gpu"]] == ["pycuda"]
    assert [line.split(">")[0] for line in extras["tensorrt"]] == ["tensorrt"]
    assert not any(line.startswith("tensorrt>") for extra in extras if extra != "tensorrt" for line in extras[extra])
