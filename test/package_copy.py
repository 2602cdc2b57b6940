"""A copy of everything that a build reads, to build and install from without touching the repository."""

import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = ("dannet_core", "dannet_ros", "launch", "config", "resource")
FILES = ("setup.py", "pyproject.toml", "package.xml", "README.md", "LICENSE")


def copy_package(folder: Path) -> Path:
    """Copies into the new ``folder``, without the working tree's caches and build outputs."""
    folder.mkdir(parents=True)
    for name in FOLDERS:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy2(REPOSITORY / name, folder / name)
    return folder


def installed_files() -> set[str]:
    """What ROS looks for below an installation prefix: executables, launch files, configuration, both ament names."""
    configuration = {
        path for path in REPOSITORY.glob("config/**/*") if path.suffix in {".yaml", ".xml", ".rviz", ".json"}
    }
    shared = {*configuration, *REPOSITORY.glob("launch/*.launch.py")}
    executables = REPOSITORY.glob("resource/lib/*/*")
    packages = ("dannet_ros", "dannet_core")
    return {
        *(f"share/dannet_ros/{path.relative_to(REPOSITORY)}" for path in shared),
        *(str(path.relative_to(REPOSITORY / "resource")) for path in executables),
        *(f"share/{name}/package.xml" for name in packages),
        *(f"share/ament_index/resource_index/packages/{name}" for name in packages),
        "bin/dannet",
    }
