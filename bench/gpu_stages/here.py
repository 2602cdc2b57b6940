"""What this machine has, found without importing any of it: any Python can ask, with the standard library alone."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
HOW_TO_GET: Final = {
    "GPU": "no NVIDIA GPU or no driver here",
    "numpy": "pip install numpy",
    "cv2": "pip install opencv-python-headless",
    "onnxruntime": "pip install onnxruntime",
    "onnx": "pip install onnx",
    "yaml": "pip install pyyaml",
    "PIL": "pip install pillow",
    "tqdm": "pip install tqdm",
    "pytest": "pip install pytest",
    "hypothesis": "pip install hypothesis",
    "torch with CUDA": "pip install torch, one that was built for CUDA",
    "timm": "pip install timm",
    "safetensors": "pip install safetensors",
    "pycuda": "pip install 'dannet_ros[gpu]', or --wheels DIR with its wheel",
    "TensorRT": "pip install tensorrt-rtx-cu13, or TensorRT from NVIDIA",
    "NVRTC or nvcc": "pip install nvidia-cuda-nvrtc, or the CUDA toolkit",
    "rclpy": "pip install 'dannet_ros[ros]', or source a ROS 2 installation",
}
"""Everything a stage may need, with what brings it."""
CORE: Final = ("numpy", "cv2", "PIL", "yaml", "tqdm")
"""What `import dannet_core` needs."""
_WHEEL_NAMES: Final = {
    "opencv_python_headless": "cv2",
    "pyyaml": "yaml",
    "pillow": "PIL",
    "tensorrt_rtx_cu13": "tensorrt_rtx",
    "nvidia_cuda_nvrtc": "nvidia_cuda_nvrtc",
    "ros_rclpy": "rclpy",
}


@dataclass
class Here:
    """One machine and one Python.

    Attributes:
        gpu: name and compute capability; empty where there is none.
        wheels: modules that come from wheels not installed yet.
        broken: modules that are there and do not load, with the reason.
    """

    gpu: str = ""
    wheels: frozenset[str] = frozenset()
    broken: dict[str, str] = field(default_factory=dict)

    def has(self, need: str) -> bool:
        """Whether one of `HOW_TO_GET` is here, or will be once the wheels are installed."""
        if need in self.broken:
            return False
        if need == "GPU":
            return bool(self.gpu)
        if need == "torch with CUDA":
            return torch_cuda() is not None
        if need == "TensorRT":
            return any(map(self._module, ("tensorrt", "tensorrt_rtx")))
        if need == "NVRTC or nvcc":
            return bool(find_nvcc()) or "nvidia_cuda_nvrtc" in self.wheels or bool(_pip_nvrtc())
        return self._module(need)

    def missing(self, needs: tuple[str, ...]) -> str:
        """What is missing of ``needs``, each with what brings it; empty where nothing is."""
        return "; ".join(self._why(need) for need in needs if not self.has(need))

    def summary(self) -> str:
        """One line."""
        cuda = torch_cuda()
        shown = {
            "torch": "with CUDA " + cuda if cuda else "without CUDA" if self._module("torch") else "",
            **{name: self._said(name) for name in ("pycuda", "TensorRT", "NVRTC or nvcc", "pytest", "rclpy")},
        }
        parts = [f"{name} {said or 'not here'}" for name, said in shown.items()]
        return f"Python {sys.version.split()[0]}; {self.gpu or 'no NVIDIA GPU'}; " + ", ".join(parts)

    def _said(self, need: str) -> str:
        if not self.has(need):
            return ""
        return "in the wheels" if need in self.wheels else "here"

    def _why(self, need: str) -> str:
        if need in self.broken:
            return f"{need} does not load: {self.broken[need]}"
        return HOW_TO_GET[need] if need == "GPU" else f"{need} is not installed: {HOW_TO_GET[need]}"

    def _module(self, name: str) -> bool:
        return name in self.wheels or importlib.util.find_spec(name) is not None


def look(wheels: Path | None) -> Here:
    """What is here; ``wheels`` is a folder of wheels not installed yet."""
    names = [path.name.partition("-")[0].lower() for path in wheels.glob("*.whl")] if wheels else []
    return Here(find_gpu(), frozenset(_WHEEL_NAMES.get(name, name) for name in names))


def find_gpu() -> str:
    """Name and compute capability, by the project's own way to ask the driver, which needs no other package."""
    path = ROOT / "dannet_core" / "inference" / "gpu.py"
    spec = importlib.util.spec_from_file_location("ask_the_driver", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    gpu: Any = module.find_gpu()
    return f"{gpu.name}, compute capability {gpu.compute_capability}" if gpu else ""


def torch_cuda() -> str | None:
    """The CUDA that torch was built for, read from its version file; importing torch takes seconds. None: none."""
    spec = importlib.util.find_spec("torch")
    version = Path(spec.origin).with_name("version.py") if spec is not None and spec.origin else None
    if version is None or not version.is_file():
        return None
    found = re.search(r"^cuda\b[^=\n]*=\s*'([^']+)'", version.read_text(), re.MULTILINE)
    return found.group(1) if found else None


def find_nvcc() -> str | None:
    """As `dannet_core.inference.backends.cuda_device.find_nvcc`, without importing it."""
    homes = [os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
    places = [None, *(str(Path(home) / "bin") for home in homes if home)]
    return next(filter(None, (shutil.which("nvcc", path=place) for place in places)), None)


def _pip_nvrtc() -> list[Path]:
    spec = importlib.util.find_spec("nvidia")
    roots = (spec.submodule_search_locations or []) if spec is not None else []
    return [found for root in roots for found in Path(root).glob("*/lib/libnvrtc.so*")]


def install_wheels(wheels: Path, site: Path) -> str:
    """Install a folder of wheels into ``site``, without network and without touching what is installed.

    Returns:
        Why that failed; empty where it did not.
    """
    found = sorted(map(str, wheels.glob("*.whl")))
    if not found:
        return f"{wheels}: no *.whl there"
    words = ["--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--upgrade", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *words, "--target", str(site), *found]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["pip failed"])[-1]


def load_pycuda(folder: Path, environment: dict[str, str]) -> tuple[str, str]:
    """Try pycuda in a process of its own, and bring what its driver library lacks.

    A wheel is linked against every function of the CUDA it was built with. A driver that dropped one of them keeps it
    from loading; a small library that answers "not supported" in its place does not.

    Returns:
        (LD_PRELOAD that it needs, why it does not load); both are empty where all is well.
    """
    missing: list[str] = []
    library = folder / "missing_in_the_driver.so"
    while True:
        preload = str(library) if missing else ""
        command = [sys.executable, "-c", "import pycuda.driver"]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=with_preload(environment, preload)
        )
        if done.returncode == 0:
            return preload, ""
        said = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        found = re.search(r"undefined symbol: (cu\w+)", said)
        if found is None or found.group(1) in missing:
            return "", said
        missing.append(found.group(1))
        refused = _compile_stubs(missing, library)
        if refused:
            return "", f"{said}: {refused}"


def with_preload(environment: dict[str, str], preload: str) -> dict[str, str]:
    """The environment with one more library in LD_PRELOAD."""
    return environment | {"LD_PRELOAD": preload} if preload else environment


def _compile_stubs(names: list[str], library: Path) -> str:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "g++", "clang"))), None)
    if compiler is None:
        return "no C compiler here to bring it"
    source = library.with_suffix(".c")
    source.write_text("".join(f"int {name}(void) {{ return 801; }}\n" for name in names))  # CUDA_ERROR_NOT_SUPPORTED
    command = [compiler, "-x", "c", "-shared", "-fPIC", "-o", str(library), str(source)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["the compiler failed"])[-1]
