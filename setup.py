"""Packaging: one distribution, two ament names (`dannet_ros` and `dannet_core`)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "dannet_core" / "__init__.py").read_text()).group(1)
INDEX = "share/ament_index/resource_index/packages"


def files(pattern: str) -> list[str]:
    """Paths relative to the repository root, as setuptools wants them."""
    return sorted(str(path.relative_to(HERE)) for path in HERE.glob(pattern))


# pip ignores install_scripts, so the executables that `ros2 run` looks for travel as data files, which keep their mode.
DATA_FILES = [
    (INDEX, ["resource/dannet_ros", "resource/dannet_core"]),
    ("share/dannet_core", ["package.xml"]),
    ("share/dannet_ros", ["package.xml"]),
    ("share/dannet_ros/launch", files("launch/*.launch.py")),
    ("share/dannet_ros/config", files("config/*.*")),
    ("share/dannet_ros/config/train", files("config/train/*.yaml")),
    ("share/dannet_ros/config/train/ablations", files("config/train/ablations/*.yaml")),
    ("lib/dannet_ros", files("resource/lib/dannet_ros/*")),
    ("lib/dannet_core", files("resource/lib/dannet_core/*")),
]

EXTRAS = {
    "ros": [
        "ros-rclpy>=9,<10",
        "ros-rmw-fastrtps-cpp>=9,<10",
        "ros-sensor-msgs>=5,<6",
        "ros-std-msgs>=5,<6",
        "ros-diagnostic-msgs>=5,<6",
        "ros-lifecycle-msgs>=2,<3",
        "rosbags>=0.10,<0.12",
    ],
    "bags": ["rosbags>=0.10,<0.12"],
    "train": [
        "torch>=2.9,<3",
        "tensorboard>=2.17,<3",
        "torchvision>=0.24,<1",
        "safetensors>=0.5,<1",
        "onnx>=1.17,<2",
        "onnxscript>=0.5,<1",
    ],
    "gpu": ["pycuda>=2024.1", "tensorrt>=10.3"],
    "rtx": ["tensorrt-rtx-cu13>=1.2,<2; platform_machine == 'x86_64'"],
    "test": [
        "pytest>=8,<10",
        "pytest-timeout>=2.3,<3",
        "hypothesis>=6.100,<7",
        "scikit-image>=0.24,<1",
        "segmentation-models-pytorch>=0.5,<1",
        "transformers>=4.50,<6",
    ],
    "dev": [
        "ruff>=0.17,<0.18",
        "mypy>=2.4,<3",
        "import-linter>=2.1,<3",
        "types-PyYAML",
        "types-tqdm",
        "psutil>=5.9,<8",
    ],
}

setup(
    name="dannet_ros",
    version=VERSION,
    description="Night-time semantic segmentation for vehicles: DANNet (CVPR 2021) with a real-time ROS 2 node",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="DANNet ROS developers",
    maintainer="DANNet ROS developers",
    maintainer_email="dannet-ros@users.noreply.github.com",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["dannet_core*", "dannet_ros*"]),
    package_data={"dannet_core": ["py.typed", "models/*.onnx", "inference/kernels/*.cu*"], "dannet_ros": ["py.typed"]},
    data_files=DATA_FILES,
    install_requires=[
        "numpy>=1.24,<3",
        "onnxruntime>=1.17,<2",
        "opencv-python-headless>=4.6,<6",
        "pillow>=9.1",
        "pyyaml>=5.4,<7",
        "tqdm>=4.60,<5",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["dannet = dannet_core.cli.main:main"]},
    zip_safe=False,
)
