"""The kernels compile for every GPU generation that is supported, wherever nvcc is found; no GPU is needed."""

import shutil
import subprocess
from pathlib import Path

import pytest

import dannet_core.inference.kernels as kernels

SOURCE = Path(kernels.__file__).parent / "frame.cu"


def nvcc_architectures() -> tuple[str | None, set[str]]:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return None, set()
    listed = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, timeout=300, check=False)
    return nvcc, set(listed.stdout.split())


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_120"])
def test_compiles_without_spilling_for(tmp_path, architecture):
    nvcc, known = nvcc_architectures()
    if nvcc is None:
        pytest.skip("no nvcc on the PATH: install the CUDA toolkit")
    if architecture not in known:
        pytest.skip(f"this nvcc does not know {architecture}")
    cubin = tmp_path / "frame.cubin"
    options = ["-std=c++17", "-O3", "-cubin", f"-arch={architecture}", "-Xptxas=-v", "-Werror", "all-warnings"]
    result = subprocess.run(
        [nvcc, *options, "-o", str(cubin), str(SOURCE)], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    assert b"camera_to_network" in cubin.read_bytes()
    assert b"logits_to_outputs" in cubin.read_bytes()
    assert result.stderr.count(" 0 bytes spill stores, 0 bytes spill loads") == 2, result.stderr
