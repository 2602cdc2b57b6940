"""A device made of this machine's CPU that does queued work as late and in as odd an order as CUDA would be allowed to.

Kernels are the real arithmetic, compiled for the host; the network is a real ONNX graph in ONNX Runtime.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

import dannet_core.inference.kernels as kernels
from dannet_core.errors import BackendError, EngineError
from dannet_core.inference.backends.onnxruntime import OnnxRuntimeBackend
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.kernels.jobs import BLOCK_COLUMNS, BLOCK_ROWS, CameraFormat, CameraJob, LabelJob

KERNEL_FOLDER = Path(kernels.__file__).parent
COMPILERS = ("g++", "clang++", "c++")
SOURCE = Path(__file__).parent / "dannet_core" / "inference" / "kernels" / "host_kernels.cpp"
JOBS = {"camera_to_network": CameraJob, "logits_to_outputs": LabelJob}
POISON = 0xA5


class HostKernels:
    """Both kernels as CPU functions that take the same jobs, through the same tables and staging."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library

    def run(self, name: str, job: CameraJob | LabelJob) -> None:
        getattr(self.library, name)(ctypes.byref(job), BLOCK_ROWS, BLOCK_COLUMNS)

    def network_input(self, camera: CameraImage, launch) -> np.ndarray:
        network = np.full((3, *launch.shape), np.nan, np.float16 if launch.half else np.float32)
        sent = uploaded(camera)
        self.run("camera_to_network", launch.job(address(sent), address(network), addresses(launch.tables)))
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
        kinds["not_finite"] = np.zeros(1, np.int32)
        outputs = {name: kinds[name] for name in wanted}
        sent = uploaded(camera)
        job = launch.job(address(sent), address(logits), tables, addresses(outputs), min_confidence, alpha)
        self.run("logits_to_outputs", job)
        return outputs


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def uploaded(camera: CameraImage) -> np.ndarray:
    """A picture's bytes as a device gets them: a table of samples behind the pixels."""
    return camera.data if camera.table is None else np.concatenate([camera.data[: camera.num_bytes], camera.table])


def addresses(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: address(array) for name, array in arrays.items()}


def format_of(camera: CameraImage) -> CameraFormat:
    return CameraFormat(camera.height, camera.width, camera.step, camera.encoding)


def compile_kernels(compiler: str, folder: Path) -> HostKernels:
    library = folder / "host_kernels.so"
    options = ["-std=c++11", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-I{KERNEL_FOLDER}"]
    subprocess.run([compiler, *options, "-o", str(library), str(SOURCE)], check=True, timeout=300)
    return HostKernels(ctypes.CDLL(str(library)))


class HostStream(deque):
    """Work not done yet: ("do", function), ("record", event, number) or ("wait", event, number)."""

    __hash__ = object.__hash__


class HostEvent:
    def __init__(self, timed: bool = False) -> None:
        self.set = self.reached = 0
        self.timed = timed


class HostBuffer:
    def __init__(self, device: HostDevice, num_bytes: int) -> None:
        self.memory = np.full(num_bytes, POISON, np.uint8)
        self.address = self.memory.ctypes.data
        self._device = device
        device.live[self.address] = self

    def free(self) -> None:
        if self._device.live.pop(self.address, None) is not None:
            self.memory[:] = POISON


class HostDevice:
    def __init__(self, kernels, seed: int = 0, capacity: int = 1 << 30, capturing: bool = True) -> None:
        self.kernels = kernels
        self.live: dict[int, HostBuffer] = {}
        self.live_pinned: dict[int, np.ndarray] = {}
        self.streams: list[HostStream] = []
        self.allocations = 0
        self.launched: list[str] = []
        self.graph_launches = 0
        self.captures = 0
        self.capacity = capacity
        self.closed = False
        self.broken: EngineError | None = None
        self._capturing = capturing
        self._random = np.random.default_rng(seed)
        self._recording: dict[HostStream, list] | None = None

    def allocate(self, num_bytes: int) -> HostBuffer:
        if sum(b.memory.size for b in self.live.values()) + num_bytes > self.capacity:
            raise EngineError("cuda: out of memory")
        self.allocations += 1
        return HostBuffer(self, num_bytes)

    def pinned(self, num_bytes: int) -> np.ndarray:
        self.allocations += 1
        array = np.full(num_bytes, POISON, np.uint8)
        self.live_pinned[array.ctypes.data] = array
        return array

    def free_pinned(self, array: np.ndarray) -> None:
        self.live_pinned.pop(array.ctypes.data)[:] = POISON

    def stream(self) -> HostStream:
        self.streams.append(HostStream())
        return self.streams[-1]

    def event(self, *, timed: bool = False) -> HostEvent:
        return HostEvent(timed)

    def upload(self, target, source, stream) -> None:
        flat = source.reshape(-1).view(np.uint8)
        self.put(stream, lambda: self._memory(target)[: flat.size].__setitem__(slice(None), flat))

    def download(self, target, source, stream) -> None:
        flat = target.reshape(-1).view(np.uint8)
        self.put(stream, lambda: flat.__setitem__(slice(None), self._memory(source)[: flat.size]))

    def launch(self, kernel, job, grid, shared_bytes, stream) -> None:
        assert min(grid) > 0
        assert shared_bytes <= 48 * 1024
        if self.broken is not None:
            raise self.broken
        self.put(stream, lambda: self._run(kernel, job))

    def put(self, stream, work: Callable[[], None]) -> None:
        self._queue(stream).append(("do", work))

    def record(self, event, stream) -> None:
        event.set += 1
        self._queue(stream).append(("record", event, event.set))

    def wait(self, stream, event) -> None:
        if self._recording is not None:
            recorded = {
                (e, n) for ops in self._recording.values() for kind, e, *rest in ops if kind == "record" for n in rest
            }
            if (event, event.set) not in recorded:
                raise RuntimeError("an event of outside the capture")
        self._queue(stream).append(("wait", event, event.set))

    def synchronize(self, event) -> None:
        self._work_until({stream: stream for stream in self.streams}, lambda: event.reached >= event.set)

    def elapsed_ms(self, start, end) -> float:
        assert start.timed
        assert end.timed
        assert start.reached
        assert end.reached
        return 1.0

    def capture(self, stream, enqueue):
        if not self._capturing:
            raise BackendError("graph: not captured: this device cannot")
        self.captures += 1
        self._recording = {stream: []}
        try:
            enqueue()
            recorded = self._recording
        finally:
            self._recording = None
        every = [operation for operations in recorded.values() for operation in operations]
        waited = {operation[1:] for operation in every if operation[0] == "wait"}
        for other, operations in recorded.items():
            if other is not stream:
                assert operations[-1][0] == "record", "a stream was not joined"
                assert operations[-1][1:] in waited, "a stream was not joined"
        return HostGraph(self, recorded)

    def memory_mib(self):
        used = sum(b.memory.size for b in self.live.values()) / 2**20
        return self.capacity / 2**20 - used, self.capacity / 2**20

    def close(self) -> None:
        self.closed = True

    def do_recorded(self, recorded) -> None:
        """Replay a graph: its events are its own."""
        queues, events = {}, {}
        for stream, operations in recorded.items():
            queues[stream] = HostStream()
            for kind, what, *rest in operations:
                own = what if kind == "do" else events.setdefault((what, *rest), HostEvent())
                queues[stream].append((kind, own) if kind == "do" else (kind, own, 1))
        self._work_until(queues, lambda: not any(queues.values()))

    def _queue(self, stream):
        if self._recording is None:
            return stream
        if stream not in self._recording:
            self._recording[stream] = []
        return self._recording[stream]

    def _work_until(self, queues, done) -> None:
        while not done():
            ready = [q for q in queues.values() if q and not (q[0][0] == "wait" and q[0][1].reached < q[0][2])]
            assert ready, "deadlock"
            kind, what, *rest = ready[self._random.integers(len(ready))].popleft()
            if kind == "do":
                what()
            elif kind == "record":
                what.reached = max(what.reached, *rest)

    def _memory(self, buffer) -> np.ndarray:
        assert buffer.address in self.live, "used after free"
        return buffer.memory

    def _run(self, kernel, job) -> None:
        self.launched.append(kernel)
        self.kernels.run(kernel, JOBS[kernel].from_buffer_copy(job))


class HostGraph:
    def __init__(self, device, recorded) -> None:
        self._device, self._recorded, self.freed = device, recorded, False

    def launch(self, stream) -> None:
        assert not self.freed
        self._device.graph_launches += 1
        self._device.put(stream, lambda: self._device.do_recorded(self._recorded))

    def free(self) -> None:
        self.freed = True


class HostNetwork:
    """A real ONNX graph as a `Network` of the host device, in float32 or float16."""

    def __init__(self, path: Path, device: HostDevice, kind: str = "float32") -> None:
        self._backend = OnnxRuntimeBackend(path, device="cpu", threads=1)
        self._device = device
        height, width = self._backend.fixed_input_size
        image = (1, 3, height, width)
        self.shapes = {"image": image}
        for output in self._backend._session.get_outputs():
            self.shapes[output.name] = tuple(output.shape)
        self.dtypes = dict.fromkeys(self.shapes, np.dtype(kind))
        self.metadata = self._backend.metadata
        self.refuses, self.asked_to_capture = "", 0

    def capture_refused(self, stream) -> str:
        assert stream is self._device.streams[1]
        self.asked_to_capture += 1
        return self.refuses

    def enqueue(self, addresses, stream) -> None:
        self._device.put(stream, lambda: self._infer(addresses))

    def _infer(self, addresses) -> None:
        arrays = {
            name: self._device.live[address].memory.view(self.dtypes[name]).reshape(self.shapes[name])
            for name, address in addresses.items()
        }
        output = self._backend.infer(arrays["image"].astype(np.float32), with_relit=True)
        arrays["stride_logits"][0] = output.logits
        if output.relit is not None:
            arrays["relit"][0] = output.relit
