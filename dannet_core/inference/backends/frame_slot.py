"""The buffers of one frame in work, on the device and pinned on the host."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dannet_core.errors import BackendError
from dannet_core.inference.backends.device import Buffer, Device, Network
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.kernels.jobs import CameraFormat

OUTPUT_KINDS: Final[dict[str, tuple[Any, int]]] = {
    "labels": (np.uint8, 1),
    "confidence": (np.float32, 1),
    "confidence_bytes": (np.uint8, 1),
    "color": (np.uint8, 3),
    "overlay": (np.uint8, 3),
}
"""Type and channels of every output at camera resolution."""
FLAG_BYTES: Final = 4
Fetch = Callable[["FrameSlot", str], npt.NDArray[np.float32]]


class FrameSlot:
    """Buffers and marks of one frame. The network's are there from the start, the camera's follow its format.

    Attributes:
        buffers: of the network's input and outputs, by name.
        outputs: on the device, by name, at camera resolution.
        camera: the camera's bytes on the device.
        host_camera: the same, pinned.
        camera_bytes: how many of them this frame has.
        not_finite: an int32 on the device, not 0 where the network gave no numbers.
        host_flag: the same, pinned, as bytes.
        uploaded, computed, joined, fetched, done: marks in the streams.
        stage_events: marks between the stages, for profiling.
        generation: counts up whenever buffers moved, so that graphs with old addresses are not used again.
    """

    def __init__(self, device: Device, network: Network, num_stage_events: int) -> None:
        self._device = device
        self._network = network
        self.buffers: dict[str, Buffer] = {
            name: device.allocate(int(np.prod(shape)) * network.dtypes[name].itemsize)
            for name, shape in network.shapes.items()
        }
        self.not_finite: Buffer = device.allocate(FLAG_BYTES)
        self.host_flag: npt.NDArray[np.uint8] = device.pinned(FLAG_BYTES)
        self._hosts: dict[str, npt.NDArray[np.uint8]] = {}
        self.outputs: dict[str, Buffer] = {}
        self._size = (0, 0)
        self._camera: Buffer | None = None
        self.host_camera: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self.camera_bytes = 0
        self.uploaded, self.computed, self.joined, self.fetched, self.done = (device.event() for _ in range(5))
        self.stage_events = [device.event(timed=True) for _ in range(num_stage_events)]
        self.owner: Callable[[], SlotStride | None] = lambda: None
        self.generation = 0

    @property
    def camera(self) -> Buffer:
        """The camera's bytes on the device."""
        assert self._camera is not None, "put comes first"
        return self._camera

    def addresses(self) -> dict[str, int]:
        """Where the network's input and outputs are."""
        return {name: buffer.address for name, buffer in self.buffers.items()}

    def put(self, camera: CameraFormat, picture: CameraImage) -> None:
        """Copy a picture of this format, with its table where samples have one, to where it is uploaded from."""
        pixels = camera.pixel_bytes
        self._fit(camera, pixels + camera.table_bytes)
        np.copyto(self.host_camera[:pixels], picture.data[:pixels])
        if picture.table is not None:
            np.copyto(self.host_camera[pixels : self.camera_bytes], picture.table)

    def _fit(self, camera: CameraFormat, num_bytes: int) -> None:
        """Make room for pictures of this format; nothing to do where the last ones had it."""
        self.camera_bytes = num_bytes
        if self.host_camera.size < num_bytes:
            self._free_camera()
            self.generation += 1
            self._camera = self._device.allocate(num_bytes)
            self.host_camera = self._device.pinned(num_bytes)
        if self._size != (camera.height, camera.width):
            self._free_outputs()
            self.generation += 1
            for name, (kind, channels) in OUTPUT_KINDS.items():
                count = camera.height * camera.width * channels * np.dtype(kind).itemsize
                self.outputs[name] = self._device.allocate(count)
                self._hosts[name] = self._device.pinned(count)
            self._size = (camera.height, camera.width)

    def host_output(self, name: str) -> npt.NDArray[Any]:
        """The pinned array of an output: H x W, or H x W x 3."""
        kind, channels = OUTPUT_KINDS[name]
        shape = self._size if channels == 1 else (*self._size, channels)
        return np.asarray(self._hosts[name].view(kind).reshape(shape))

    def host(self, name: str) -> npt.NDArray[Any]:
        """The pinned array of one of the network's buffers, made when first asked for."""
        shape, kind = self._network.shapes[name], self._network.dtypes[name]
        if name not in self._hosts:
            self._hosts[name] = self._device.pinned(int(np.prod(shape)) * kind.itemsize)
        return np.asarray(self._hosts[name].view(kind).reshape(shape))

    def keep_for_owner(self) -> None:
        """Before the buffers are used again: let a prediction that still lives take what it may be asked for."""
        owner = self.owner()
        if owner is not None:
            owner.keep()
        self.owner = lambda: None

    def free(self) -> None:
        """Give everything back; calling it twice is harmless."""
        self.keep_for_owner()
        self._free_camera()
        self._free_outputs()
        for buffer in self.buffers.values():
            buffer.free()
        for host in self._hosts.values():
            self._device.free_pinned(host)
        self._hosts.clear()
        self.not_finite.free()
        if self.host_flag.size:
            self._device.free_pinned(self.host_flag)
            self.host_flag = np.empty(0, np.uint8)

    def _free_camera(self) -> None:
        if self._camera is not None:
            self._camera.free()
            self._device.free_pinned(self.host_camera)
        self._camera, self.host_camera = None, np.empty(0, np.uint8)

    def _free_outputs(self) -> None:
        for name, buffer in self.outputs.items():
            buffer.free()
            host = self._hosts.pop(name, None)
            if host is not None:
                self._device.free_pinned(host)
        self.outputs.clear()
        self._size = (0, 0)


class SlotStride:
    """The network's output of one frame, as a `StrideSource`: on the device until asked for or until the buffers are
    needed again, whichever comes first.
    """

    def __init__(self, slot: FrameSlot, fetch: Fetch, with_relit: bool) -> None:
        self._slot: FrameSlot | None = slot
        self._fetch = fetch
        self._with_relit = with_relit
        self._kept: dict[str, npt.NDArray[np.float32]] = {}
        slot.owner = weakref.ref(self)

    def logits(self) -> npt.NDArray[np.float32]:
        """K x h x w float32."""
        return self._get("stride_logits")

    def relit(self) -> npt.NDArray[np.float32]:
        """3 x H x W float32, ImageNet-normalised."""
        return self._get("relit")

    def keep(self) -> None:
        """Fetch everything now: the buffers are about to be used again."""
        self.logits()
        if self._with_relit:
            self.relit()
        self._slot = None

    def _get(self, name: str) -> npt.NDArray[np.float32]:
        if name not in self._kept:
            if self._slot is None:
                raise BackendError(f"{name}: not kept: call segment(rgb, with_relit=True)")
            self._kept[name] = self._fetch(self._slot, name)
        return self._kept[name]
