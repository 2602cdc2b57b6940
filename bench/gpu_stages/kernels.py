"""Both kernels through pycuda: equal to the CPU paths, and how long; and whether NaN raises the flag."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import numpy as np

from dannet_core.classes import CITYSCAPES_CLASS_SHARES
from dannet_core.deploy.benchmark import seeded_pictures
from dannet_core.inference.backends.cuda_device import CudaDevice
from dannet_core.inference.camera_image import ENCODINGS, CameraImage
from dannet_core.inference.kernels.jobs import CameraFormat, camera_launch, label_launch
from dannet_core.inference.postprocess import class_scaling, scale_logits, upsample_confidence, upsample_labels
from dannet_core.inference.preprocess import preprocess
from dannet_core.pixels import COLORMAP, IMAGENET_STD, overlay
from gpu_stages.on_device import Arrays, street_logits
from gpu_stages.record import Record, run
from gpu_stages.sizes import CAMERA, INPUT, STRIDE

ROUNDS: Final = 200
MOST_BYTES_OFF: Final = 1.01
"""The two paths may round a byte differently."""
LEAST_LABELS_EQUAL: Final = 0.9999
CORNERS: Final = ((0, 0, 0), tuple(size - 1 for size in STRIDE))
"""Places of scores that are no numbers."""
EVERYTHING: Final = ("labels", "confidence", "confidence_bytes", "color", "overlay")


@contextmanager
def arrays_on(device: CudaDevice) -> Iterator[Arrays]:
    arrays = Arrays(device)
    try:
        yield arrays
    finally:
        arrays.free()


def camera_of(encoding: str) -> CameraImage:
    """Noise with padded rows."""
    kind, (height, width) = ENCODINGS[encoding], CAMERA
    step = width * kind.bytes_per_pixel + 64
    data = np.random.default_rng(0).integers(0, 256, int(height * kind.rows_per_row) * step, dtype=np.uint8)
    return CameraImage(data, height, width, step, encoding)


def format_of(camera: CameraImage) -> CameraFormat:
    return CameraFormat(camera.height, camera.width, camera.step, camera.encoding)


def camera_kernel(device: CudaDevice, encoding: str, resize: str, half: bool) -> dict[str, Any]:
    camera = camera_of(encoding)
    launch = camera_launch(format_of(camera), INPUT, half, resize)
    like = np.full((3, *INPUT), np.nan, np.float16 if half else np.float32)
    with arrays_on(device) as arrays:
        pixels, out = arrays.put(camera.data), arrays.put(like)
        job = bytes(launch.job(pixels, out, arrays.put_all(launch.tables)))

        def start() -> None:
            device.launch("camera_to_network", job, launch.grid, launch.shared_bytes, arrays.stream)

        start()
        made = arrays.get(out, like).astype(np.float32)
        us = arrays.launch_us(start, ROUNDS)
    expected = preprocess(camera.to_rgb(), INPUT, resize)[0]
    off = float((np.abs(made - expected) * (IMAGENET_STD * 255)[:, None, None]).max())  # NaN where nothing was written
    moved = camera.num_bytes + like.nbytes
    # Half precision keeps eleven bits of a value of up to 2.6 in units of the standard deviation.
    return {
        "equal": off <= MOST_BYTES_OFF + 0.1 * half,
        "bytes_off": round(off, 4),
        "us": us,
        "gb_per_s": round(moved / us / 1e3, 1),
    }


def blank_outputs() -> dict[str, np.ndarray]:
    return {
        "labels": np.full(CAMERA, 77, np.uint8),
        "confidence": np.full(CAMERA, np.nan, np.float32),
        "confidence_bytes": np.full(CAMERA, 77, np.uint8),
        "color": np.full((*CAMERA, 3), 77, np.uint8),
        "overlay": np.full((*CAMERA, 3), 77, np.uint8),
        "not_finite": np.zeros(1, np.int32),
    }


def run_label_kernel(
    device: CudaDevice, logits: np.ndarray, align_corners: bool, wanted: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], float]:
    """What the kernel writes, and its microseconds."""
    camera = CameraImage.from_rgb(seeded_pictures(CAMERA)[0])
    scaling = class_scaling("probabilities", CITYSCAPES_CLASS_SHARES, 0.16)
    launch = label_launch(format_of(camera), logits.shape, logits.dtype == np.float16, align_corners)
    blank = {name: values for name, values in blank_outputs().items() if name in (*wanted, "not_finite")}
    with arrays_on(device) as arrays:
        tables = arrays.put_all({**launch.tables, "factor": scaling.factor, "offset": scaling.offset})
        outputs = arrays.put_all(blank)
        job = bytes(launch.job(arrays.put(camera.data), arrays.put(logits), tables, outputs, 0.0, 0.5))

        def start() -> None:
            device.launch("logits_to_outputs", job, launch.grid, launch.shared_bytes, arrays.stream)

        start()
        made = {name: arrays.get(outputs[name], like) for name, like in blank.items()}
        return made, arrays.launch_us(start, ROUNDS)


def label_kernel(device: CudaDevice, kind: Any, align_corners: bool, wanted: tuple[str, ...]) -> dict[str, Any]:
    logits = street_logits(kind)
    made, us = run_label_kernel(device, logits, align_corners, wanted)
    scores = scale_logits(logits.astype(np.float32), class_scaling("probabilities", CITYSCAPES_CLASS_SHARES, 0.16))
    share = float((made["labels"] == upsample_labels(scores, CAMERA, align_corners)).mean())
    result: dict[str, Any] = {"labels_equal": round(share, 6), "us": us}
    equal = [share >= LEAST_LABELS_EQUAL, made["not_finite"][0] == 0]
    if "confidence" in made:
        off = float(np.abs(made["confidence"] - upsample_confidence(scores, CAMERA, align_corners)).max())
        result["confidence_off"] = off
        equal.append(off <= 1e-3)
    if "color" in made:
        mixed = overlay(seeded_pictures(CAMERA)[0], made["labels"])
        result["overlay_off"] = int(np.abs(made["overlay"].astype(int) - mixed).max())
        equal += [bool((made["color"] == COLORMAP[made["labels"]]).all()), result["overlay_off"] <= 1]
    return {"equal": bool(all(equal))} | result


def flag_for_nan(device: CudaDevice) -> dict[str, Any]:
    """A single score that is no number, in the first and the last place, in every way."""
    raised = {}
    for name, value in (("nan", np.nan), ("inf", np.inf), ("-inf", -np.inf)):
        for place in CORNERS:
            logits = street_logits(np.float16)
            logits[place] = value
            made, _ = run_label_kernel(device, logits, True, ("labels",))
            raised[f"{name} at {place}"] = int(made["not_finite"][0])
    return {"equal": set(raised.values()) == {1}, "flags": raised}


def kernels(record: Record, _arguments: argparse.Namespace) -> None:
    with closing(CudaDevice()) as device:
        record.add("device", {"name": device.name, "compute_capability": device.compute_capability})
        for encoding in ENCODINGS:
            for resize in ("area", "antialiased"):
                name = f"camera {encoding} {resize}"
                record.check(name, lambda e=encoding, r=resize: camera_kernel(device, e, r, False))
        record.check("camera bgr8 area fp16", lambda: camera_kernel(device, "bgr8", "area", True))
        for kind in (np.float32, np.float16):
            for wanted in (("labels",), EVERYTHING):
                name = f"labels {np.dtype(kind).name} {len(wanted)} outputs"
                record.check(name, lambda k=kind, w=wanted: label_kernel(device, k, True, w))
        name = "labels float32 align_corners=False"
        record.check(name, lambda: label_kernel(device, np.float32, False, ("labels", "confidence")))
        record.check("flag for NaN and infinity", lambda: flag_for_nan(device))


if __name__ == "__main__":
    run(kernels)
