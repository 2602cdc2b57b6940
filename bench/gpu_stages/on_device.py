"""What the stages that launch kernels share: the street they label, and arrays on a `CudaDevice`."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from dannet_core.inference.backends.cuda_device import CudaDevice
from gpu_stages.sizes import STRIDE


def street_logits(kind: Any) -> np.ndarray:
    """Smooth logits: labels in regions, as they come from a network."""
    coarse = np.random.default_rng(0).normal(0, 4, (9, 14, STRIDE[0])).astype(np.float32)
    size = (STRIDE[2], STRIDE[1])
    return np.stack([cv2.resize(coarse[..., k], size, interpolation=cv2.INTER_CUBIC) for k in range(19)]).astype(kind)


class Arrays:
    """Arrays put on a device, freed together."""

    def __init__(self, device: CudaDevice) -> None:
        self.device = device
        self.stream = device.stream()
        self._buffers: list[Any] = []

    def put(self, values: np.ndarray) -> int:
        """Address of a copy on the device."""
        array = np.ascontiguousarray(values)
        buffer = self.device.allocate(array.nbytes)
        self._buffers.append(buffer)
        self.device.upload(buffer, array, self.stream)
        self.wait()
        return buffer.address

    def put_all(self, arrays: dict[str, np.ndarray]) -> dict[str, int]:
        """Addresses by name."""
        return {name: self.put(values) for name, values in arrays.items()}

    def get(self, address: int, like: np.ndarray) -> np.ndarray:
        """What lies there, as an array of that shape and type."""
        buffer = next(buffer for buffer in self._buffers if buffer.address == address)
        out = np.empty_like(like)
        self.device.download(out, buffer, self.stream)
        self.wait()
        return out

    def wait(self) -> None:
        """Until the stream is done."""
        done = self.device.event()
        self.device.record(done, self.stream)
        self.device.synchronize(done)

    def launch_us(self, launch: Any, rounds: int) -> float:
        """Microseconds of one launch among many."""
        begin, end = self.device.event(timed=True), self.device.event(timed=True)
        launch()
        self.device.record(begin, self.stream)
        for _ in range(rounds):
            launch()
        self.device.record(end, self.stream)
        self.device.synchronize(end)
        return round(self.device.elapsed_ms(begin, end) / rounds * 1e3, 2)

    def free(self) -> None:
        """Give everything back."""
        while self._buffers:
            self._buffers.pop().free()
