"""A whole 1080p frame around a network that only copies: what the GPU path costs beside the network."""

from __future__ import annotations

import argparse
import time
from collections import deque
from typing import Any, Final

import numpy as np

from dannet_core import NightSegmenter, preset
from dannet_core.classes import CITYSCAPES_CLASS_SHARES
from dannet_core.deploy.benchmark import PICTURES, medians, seeded_pictures
from dannet_core.inference.backends.cuda_device import CudaDevice
from dannet_core.inference.backends.tensorrt import TensorRTBackend
from dannet_core.inference.postprocess import class_scaling, scale_logits, upsample_labels
from dannet_core.metadata import ModelMetadata
from gpu_stages.on_device import Arrays, street_logits
from gpu_stages.record import Record, run, spread, wall_ms
from gpu_stages.sizes import CAMERA, INPUT, STRIDE

FRAMES: Final = 300
WARM_UP: Final = 6
SOAK_FRAMES: Final = 500
LEAST_LABELS_EQUAL: Final = 0.9999
WAYS: Final = (
    ("fp16, graphs", np.float16, True, ()),
    ("fp16, no graphs", np.float16, False, ()),
    ("fp32, graphs, with colour, overlay and confidence", np.float32, True, ("color", "overlay", "confidence_bytes")),
)


class CopyNetwork:
    """A `Network` whose answer lies on the device already: two copies there, and the relit picture is the picture.

    Attributes:
        shapes, dtypes: see `dannet_core.inference.backends.device.Network`.
        logits: the answer.
    """

    def __init__(self, device: Any, kind: Any) -> None:
        self.logits = street_logits(kind)
        self.shapes = {"image": (1, 3, *INPUT), "stride_logits": (1, *STRIDE), "relit": (1, 3, *INPUT)}
        self.dtypes = dict.fromkeys(self.shapes, np.dtype(kind))
        self._arrays = Arrays(device)
        self._answer = self._arrays.put(self.logits)

    def enqueue(self, addresses: dict[str, int], stream: Any) -> None:
        """See `dannet_core.inference.backends.device.Network.enqueue`."""
        import pycuda.driver

        image_bytes = int(np.prod(self.shapes["image"])) * self.logits.itemsize
        pycuda.driver.memcpy_dtod_async(addresses["relit"], addresses["image"], image_bytes, stream)
        pycuda.driver.memcpy_dtod_async(addresses["stride_logits"], self._answer, self.logits.nbytes, stream)

    def close(self) -> None:
        """Free the answer, and let go of the stream before the context is left."""
        self._arrays.free()
        del self._arrays


class Watch:
    """Labels frames and compares every one of them with what it has to be.

    Attributes:
        equal: the smallest share of equal labels so far.
    """

    def __init__(self, segmenter: NightSegmenter, logits: np.ndarray, outputs: tuple[str, ...]) -> None:
        scaling = class_scaling("probabilities", CITYSCAPES_CLASS_SHARES, segmenter.settings.reweight_std)
        self._expected = upsample_labels(scale_logits(logits.astype(np.float32), scaling), CAMERA)
        self._segmenter = segmenter
        self._outputs = outputs
        self._pictures = seeded_pictures(CAMERA)
        self._turn = 0
        self._kept: deque[np.ndarray] = deque(maxlen=2 * PICTURES)
        self.equal = 1.0

    def picture(self) -> np.ndarray:
        """The next one."""
        self._turn += 1
        return self._pictures[self._turn % PICTURES]

    def segment(self) -> dict[str, float]:
        """One frame; gives its stages."""
        prediction = self._segmenter.segment(self.picture(), with_relit=False, outputs=self._outputs)
        self._compare(prediction.labels)
        return prediction.timings_ms

    def latencies_ms(self, frames: int) -> list[float]:
        """One after the other, without the comparing."""

        def one() -> None:
            self._segmenter.segment(self.picture(), with_relit=False, outputs=self._outputs)

        return wall_ms(one, frames, WARM_UP)

    def overlapped_per_s(self, frames: int) -> float:
        """Frames a second with the next one submitted before this one is collected."""
        self._submit()
        began_s = time.perf_counter()
        for _ in range(frames):
            self._submit()
            self._kept.append(self._segmenter.collect().labels)
        seconds = time.perf_counter() - began_s
        self._kept.append(self._segmenter.collect().labels)
        for labels in self._kept:
            self._compare(labels)
        return round(frames / seconds, 1)

    def _submit(self) -> None:
        self._segmenter.submit(self.picture(), with_relit=False, outputs=self._outputs)

    def _compare(self, labels: np.ndarray) -> None:
        self.equal = min(self.equal, float((labels == self._expected).mean()))


def whole_frame(kind: Any, graphs: bool, outputs: tuple[str, ...], frames: int = FRAMES) -> dict[str, Any]:
    device = CudaDevice()
    network = CopyNetwork(device, kind)
    backend = TensorRTBackend(device, network, ModelMetadata("pspnet", "resnet101"), "cuda:0", graphs=graphs)
    with NightSegmenter(backend, preset("paper")) as segmenter:
        watch = Watch(segmenter, network.logits, outputs)
        for _ in range(WARM_UP):
            watch.segment()
        result: dict[str, Any] = {"graph": segmenter.graph_state() or "used"}
        result["ms"] = spread(watch.latencies_ms(frames))
        result["overlapped_frames_per_s"] = watch.overlapped_per_s(frames)
        segmenter.set_profiling(True)
        stages = medians([watch.segment() for _ in range(min(30, frames))])
        segmenter.set_profiling(False)
        result["stages_ms"] = {name: round(ms, 4) for name, ms in stages.items() if name.startswith("device_")}
        for _ in range(WARM_UP):  # graphs are made again after profiling
            watch.segment()
        before_mib = segmenter.memory_mib()
        for _ in range(SOAK_FRAMES if frames == FRAMES else frames):
            watch.segment()
        after_mib = segmenter.memory_mib()
        if before_mib is not None and after_mib is not None:
            result["memory_growth_mib"] = round(after_mib - before_mib, 2)
        return {"equal": watch.equal >= LEAST_LABELS_EQUAL, "labels_equal": watch.equal} | result


def beside_torch() -> dict[str, Any]:
    """The device in the context that torch holds too; torch goes on computing after the device left it."""
    import torch

    a = torch.randn(256, 256, device="cuda")
    before = a @ a
    torch.cuda.synchronize()
    device = CudaDevice()
    arrays = Arrays(device)
    like = np.arange(1024, dtype=np.uint8)
    same = bool((arrays.get(arrays.put(like), like) == like).all())
    arrays.free()
    del arrays
    device.close()
    torch_off = float((a @ a - before).abs().max())
    CudaDevice().close()
    return {"equal": same and torch_off == 0, "torch_off_afterwards": torch_off}


def frame(record: Record, _arguments: argparse.Namespace) -> None:
    from gpu_stages.here import torch_cuda

    for name, kind, graphs, outputs in WAYS:
        record.check(name, lambda k=kind, g=graphs, o=outputs: whole_frame(k, g, o))
    if torch_cuda() is not None and record.left_s() > 10:
        record.check("beside torch", beside_torch)


if __name__ == "__main__":
    run(frame)
