"""The kernels' arithmetic compiled for this machine's CPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import dannet_core.inference.kernels as kernels
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.kernels.jobs import BLOCK_COLUMNS, BLOCK_ROWS, CameraFormat, CameraJob, LabelJob

KERNEL_FOLDER = Path(kernels.__file__).parent
COMPILERS = ("g++", "clang++", "c++")


class HostKernels:
    """Both kernels as CPU functions that take the same jobs, through the same tables and staging."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library

    def run(self, name: str, job: CameraJob | LabelJob) -> None:
        getattr(self.library, name)(ctypes.byref(job), BLOCK_ROWS, BLOCK_COLUMNS)

    def network_input(self, camera: CameraImage, launch) -> np.ndarray:
        network = np.full((3, *launch.shape), np.nan, np.float16 if launch.half else np.float32)
        self.run("camera_to_network", launch.job(address(camera.data), address(network), addresses(launch.tables)))
        return network

    def outputs(self, camera: CameraImage, logits, launch, scaling, wanted, min_confidence=0.0, alpha=0.5) -> dict:
        logits = np.ascontiguousarray(logits)
        tables = addresses({**launch.tables, "factor": scaling.factor, "offset": scaling.offset})
        size = camera.size
        kinds = {
            "labels": np.full(size, 77, np.uint8),
            "confidence": np.full(size, np.nan, np.float32),
            "confidence_bytes": np.full(size, 77, np.uint8),
            "color": np.full((*size, 3), 77, np.uint8),
            "overlay": np.full((*size, 3), 77, np.uint8),
        }
        outputs = {name: kinds[name] for name in wanted}
        job = launch.job(address(camera.data), address(logits), tables, addresses(outputs), min_confidence, alpha)
        self.run("logits_to_outputs", job)
        return outputs


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def addresses(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: address(array) for name, array in arrays.items()}


def format_of(camera: CameraImage) -> CameraFormat:
    return CameraFormat(camera.height, camera.width, camera.step, camera.encoding)


@pytest.fixture(scope="session")
def host_kernels(tmp_path_factory: pytest.TempPathFactory) -> HostKernels:
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        pytest.skip(f"no C++ compiler here, looked for {', '.join(COMPILERS)}: apt install g++")
    source = Path(__file__).parent / "kernels" / "host_kernels.cpp"
    library = tmp_path_factory.mktemp("host") / "host_kernels.so"
    warnings = ["-Wall", "-Wextra", "-Werror"]
    command = [
        compiler,
        "-std=c++11",
        "-O2",
        "-shared",
        "-fPIC",
        *warnings,
        f"-I{KERNEL_FOLDER}",
        "-o",
        library,
        source,
    ]
    subprocess.run(list(map(str, command)), check=True, timeout=100)
    return HostKernels(ctypes.CDLL(str(library)))


@pytest.fixture(scope="session")
def camera_format():
    return format_of
