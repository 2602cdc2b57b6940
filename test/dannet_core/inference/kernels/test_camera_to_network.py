"""Kernel (a) against the NumPy path: decode on the CPU, `preprocess`, compare bytes."""

import ctypes

import numpy as np
import pytest

from dannet_core.inference.camera_image import DEEP_ENCODINGS, ENCODINGS, CameraImage
from dannet_core.inference.kernels.jobs import CameraJob, LabelJob, camera_launch
from dannet_core.inference.preprocess import preprocess
from dannet_core.pixels import IMAGENET_MEAN, IMAGENET_STD
from dannet_core.tone import TONES, ToneMapper, ToneSettings


def random_camera(encoding: str, height: int, width: int, padding: int = 7) -> CameraImage:
    kind = ENCODINGS[encoding]
    step = width * kind.bytes_per_pixel + padding
    rows = int(height * kind.rows_per_row)
    rng = np.random.default_rng(5)
    smooth = np.linspace(0, 200, rows)[:, None] * np.linspace(0.2, 1, step)
    return CameraImage(
        (smooth + rng.integers(0, 55, (rows, step))).astype(np.uint8).reshape(-1), height, width, step, encoding
    )


def bytes_of(network: np.ndarray) -> np.ndarray:
    return network * (IMAGENET_STD * 255)[:, None, None] + (IMAGENET_MEAN * 255)[:, None, None]


def test_structures_are_as_large_here_as_in_the_kernels(host_kernels):
    assert host_kernels.library.size_of_camera_job() == ctypes.sizeof(CameraJob)
    assert host_kernels.library.size_of_label_job() == ctypes.sizeof(LabelJob)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_at_full_size_is_what_opencv_makes_of_it(host_kernels, camera_format, encoding):
    camera = random_camera(encoding, 70, 134)
    network = host_kernels.network_input(camera, camera_launch(camera_format(camera), (70, 134), False, "area"))
    np.testing.assert_allclose(network, preprocess(camera.to_rgb(), (70, 134))[0], atol=2e-6)


def random_deep_camera(encoding: str, tone: str, big_endian: bool = False, padding: int = 7) -> CameraImage:
    """12 bits at the lower end; an odd padding puts every second row at an odd address."""
    height, width = 70, 134
    channels = ENCODINGS[DEEP_ENCODINGS[encoding]].bytes_per_pixel
    rng = np.random.default_rng(6)
    smooth = np.linspace(0, 3800, height)[:, None] * np.linspace(0.1, 1, width * channels)
    samples = (smooth + rng.integers(0, 295, smooth.shape)).astype(">u2" if big_endian else "<u2")
    rows = np.pad(samples.view(np.uint8), ((0, 0), (0, padding)), constant_values=170)
    camera = CameraImage(rows.reshape(-1), height, width, rows.shape[1], encoding)
    return camera.toned(ToneMapper(ToneSettings(tone)), big_endian=big_endian)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", DEEP_ENCODINGS)
def test_every_deep_encoding_is_what_the_cpu_path_makes_of_it(host_kernels, camera_format, encoding, big_endian):
    camera = random_deep_camera(encoding, "gamma", big_endian)
    network = host_kernels.network_input(camera, camera_launch(camera_format(camera), (70, 134), False, "area"))
    np.testing.assert_allclose(network, preprocess(camera.to_rgb(), (70, 134))[0], atol=2e-6)


@pytest.mark.parametrize("tone", TONES)
def test_every_tone_reaches_the_kernel(host_kernels, camera_format, tone):
    camera = random_deep_camera("bayer_grbg16", tone, padding=0)
    network = host_kernels.network_input(camera, camera_launch(camera_format(camera), (70, 134), False, "area"))
    np.testing.assert_allclose(network, preprocess(camera.to_rgb(), (70, 134))[0], atol=2e-6)


@pytest.mark.parametrize("resize", ["area", "antialiased"])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((216, 384), (108, 192)),  # halves, as 1080p does at 960 x 540
        ((108, 192), (108, 192)),
        ((144, 256), (108, 192)),
        ((270, 480), (64, 113)),
        ((96, 128), (136, 200)),
        ((100, 300), (160, 96)),  # one axis grows, the other shrinks
        ((900, 1600), (64, 64)),  # too much for shared memory
    ],
)
def test_resized_bytes_are_within_one_of_the_cpu_path(host_kernels, camera_format, source, target, resize):
    camera = random_camera("bgr8", *source)
    launch = camera_launch(camera_format(camera), target, False, resize)
    assert launch.shared_bytes <= 48 * 1024
    assert (launch.stage == (0, 0)) == (source == (900, 1600))
    ours = bytes_of(host_kernels.network_input(camera, launch))
    theirs = bytes_of(preprocess(camera.to_rgb(), target, resize)[0])
    difference = np.abs(np.rint(ours) - np.rint(theirs))
    assert difference.max() <= 1
    assert difference.mean() < 0.15  # sums near one half; OpenCV enlarges in 11-bit fixed point


def test_half_output_is_the_rounded_float_output(host_kernels, camera_format):
    camera = random_camera("yuyv", 100, 160)
    full, half = (camera_launch(camera_format(camera), (64, 96), kind, "antialiased") for kind in (False, True))
    expected = host_kernels.network_input(camera, full).astype(np.float16)
    np.testing.assert_array_equal(host_kernels.network_input(camera, half), expected)


def test_halves_round_to_nearest_even_in_both_directions(host_kernels):
    rng = np.random.default_rng(1)
    special = [0.0, -0.0, 1.0, 65504.0, 65519.9, 65520.0, 1e9, -1e9, np.inf, 6e-8, 2.98e-8, 3e-8, 6.1e-5, 6.097e-5]
    ties = np.float32(1) + np.arange(64, dtype=np.float32) / 2048
    values = np.concatenate([np.array(special), ties, rng.normal(0, 1, 500), rng.normal(0, 1e-5, 500)])
    values = values.astype(np.float32)
    halves, back = np.empty(values.size, np.float16), np.empty(values.size, np.float32)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (values, halves, back)]
    host_kernels.library.convert_halves(*pointers, values.size)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    np.testing.assert_array_equal(halves.view(np.uint16), expected.view(np.uint16))
    np.testing.assert_array_equal(back, expected.astype(np.float32))
