"""The kernels compile with NVRTC, which comes with torch for CUDA: no toolkit and no GPU are needed."""

import pytest

from dannet_core.errors import BackendError
from dannet_core.inference.kernels.nvrtc import compile_cubin, find_nvrtc


@pytest.fixture(scope="module")
def nvrtc():
    found = find_nvrtc()
    if found is None:
        pytest.skip("no NVRTC here: pip install nvidia-cuda-nvrtc")
    return found


@pytest.mark.parametrize("compute_capability", ["8.7", "12.0"])
def test_compiles_both_kernels_for(nvrtc, compute_capability):
    cubin = compile_cubin(nvrtc, compute_capability)
    assert cubin.startswith(b"\x7fELF")
    assert b"camera_to_network" in cubin
    assert b"logits_to_outputs" in cubin


def test_an_unknown_gpu_is_one_line(nvrtc):
    with pytest.raises(
        BackendError, match=r"kernels: NVRTC failed: NVRTC_ERROR_INVALID_OPTION: .*gpu-architecture"
    ) as error:
        compile_cubin(nvrtc, "99.9")
    assert "\n" not in str(error.value)


def test_a_mistake_comes_with_the_compilers_words(nvrtc):
    with pytest.raises(BackendError, match=r"NVRTC_ERROR_COMPILATION: frame_math.cuh.* error: "):
        compile_cubin(nvrtc, "8.7", ["-DLOWEST=1"])
