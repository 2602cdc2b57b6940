"""PyTorch backend: `.safetensors` files, on the CPU or on CUDA; there everything around the network too."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dannet_core.errors import BackendError, SettingsError, first_line, require
from dannet_core.inference.backends.backend import StrideOutput
from dannet_core.inference.backends.cuda_errors import engine_error
from dannet_core.inference.backends.torch_frame import TorchFrame
from dannet_core.inference.backends.torch_graph import TorchGraph
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.frame import FrameRequest, FrameResult
from dannet_core.metadata import ModelMetadata

INSTALL: Final = "pip install 'dannet_ros[train]'"
_NOTHING: Final = contextlib.nullcontext()
PRECISIONS: Final = ("auto", "fp32", "fp16", "bf16")


@dataclass(frozen=True)
class TorchOptions:
    """How torch is to run a network.

    Attributes:
        precision: ``fp32``, ``fp16``, ``bf16``, or ``auto``: fp16 on CUDA, fp32 on the CPU.
        channels_last: memory order that tensor cores like; None = on CUDA.
        compile: let torch compile the network; the first frames of a size then take minutes.
        graph: start the network as one CUDA graph per input size.
        on_device: do what comes before and after the network on the device too; None = on CUDA.

    Raises:
        SettingsError: on construction: an unknown precision.
    """

    precision: str = "auto"
    channels_last: bool | None = None
    compile: bool = False
    graph: bool = True
    on_device: bool | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise SettingsError(f"precision: got '{self.precision}', expected one of {', '.join(PRECISIONS)}")


class PyTorchBackend:
    """Runs the network itself, at any input size.

    Attributes:
        options: with every "auto" and None decided.
    """

    name = "pytorch"
    fixed_input_size: tuple[int, int] | None = None
    max_in_flight = 2

    def __init__(
        self, net: Any, metadata: ModelMetadata, device: str = "cpu", options: TorchOptions | None = None
    ) -> None:
        """Run a network that is there already, e.g. one in training: it is put into eval mode.

        Args:
            net: a `dannet_core.networks.DANNet` on ``device``. It is converted in place unless it stays in float32.
            metadata: describes it.
            device: where it is.
            options: None = as it is, on the CPU paths.
        """
        self._torch: Any = require("torch", "run networks", INSTALL)
        self.metadata = metadata
        self.device = device
        self.options = options or TorchOptions(precision="fp32", channels_last=False, graph=False, on_device=False)
        self.on_device = bool(self.options.on_device)
        self._net: Any = net.eval()
        self._dtype = {"fp16": self._torch.float16, "bf16": self._torch.bfloat16}.get(
            self.options.precision, self._torch.float32
        )
        if self._dtype != self._torch.float32:
            self._net = self._net.to(self._dtype)
        if self.options.channels_last:
            self._net = self._net.to(memory_format=self._torch.channels_last)
        self._run: Any = self._torch.compile(self._net.at_stride) if self.options.compile else self._net.at_stride
        if self.options.graph:
            self._run = TorchGraph(self._torch, self._run)
        self._frame = TorchFrame(metadata, device)
        self._flying: deque[_Flight] = deque()
        self._staging: list[Any] = [None] * self.max_in_flight
        self._turn = 0

    @classmethod
    def open(
        cls, path: Path, device: str = "auto", threads: int = 0, options: TorchOptions | None = None
    ) -> PyTorchBackend:
        """Open a model file.

        Args:
            path: the `.safetensors` file.
            device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
            threads: CPU threads inside one operator, for the whole process; 0 leaves torch's setting.
            options: None = the defaults.

        Raises:
            MissingPackageError: torch is not installed.
            BackendError: the device does not exist.
            ModelFileError: the file is damaged or is not a DANNet model.
        """
        torch = require("torch", "run .safetensors models", INSTALL)
        from dannet_core.networks.weights import load_metadata, load_weights

        chosen = _choose_device(torch, device)
        if threads > 0:
            torch.set_num_threads(threads)
        decided = _decide(options or TorchOptions(), chosen.startswith("cuda"))
        return cls(load_weights(path).to(chosen), load_metadata(path), chosen, decided)

    def infer(self, image: npt.NDArray[np.float32], with_relit: bool) -> StrideOutput:
        """See `Backend.infer`."""
        with self._guarded():
            pictures, stride_logits = self._network(self._torch.from_numpy(image).to(self.device))
            logits = stride_logits[0].float().cpu().numpy()
            with_relit = with_relit and "relit" not in self.metadata.absent
            return StrideOutput(logits, pictures[0].float().cpu().numpy() if with_relit else None)

    def run_frame(self, camera: CameraImage, request: FrameRequest) -> FrameResult:
        """See `FrameBackend.run_frame`."""
        if self._flying:
            raise BackendError(f"segment: {len(self._flying)} submitted frames are in flight: collect them first")
        self.submit(camera, request)
        return self.collect()

    def submit(self, camera: CameraImage, request: FrameRequest) -> None:
        """See `FrameBackend.submit`: everything is queued on the device, nothing waited for."""
        if len(self._flying) == self.max_in_flight:
            raise BackendError(f"submit: {self.max_in_flight} frames are in flight: collect one first")
        start_s = time.perf_counter()
        with self._guarded():
            rgb = self._frame.upload(camera, self._pinned(camera))
            relit, logits = self._network(self._frame.preprocess(rgb, request))
            # A graph writes its outputs to the same place every time.
            logits, relit = logits[0].clone(), relit[0].clone() if request.with_relit else None
            outputs = self._frame.postprocess(logits, rgb, request)
            host = {name: self._download(output) for name, output in outputs.items()}
            done = self._torch.cuda.Event() if self.device.startswith("cuda") else None
            if done is not None:
                done.record()
        submitting_ms = (time.perf_counter() - start_s) * 1e3
        self._flying.append(_Flight(host, TorchStride(logits, relit), done, submitting_ms))

    def collect(self) -> FrameResult:
        """See `FrameBackend.collect`."""
        if not self._flying:
            raise BackendError("collect: no frame is in flight: submit one first")
        flight = self._flying.popleft()
        start_s = time.perf_counter()
        with self._guarded():
            if flight.done is not None:
                flight.done.synchronize()
            waited_s = time.perf_counter()
            arrays = {name: tensor.numpy() for name, tensor in flight.outputs.items()}
        timings_ms = {
            "preprocess": flight.submitting_ms,
            "infer": (waited_s - start_s) * 1e3,
            "postprocess": (time.perf_counter() - waited_s) * 1e3,
        }
        finite = bool(arrays.pop("finite")[0])
        return FrameResult(arrays.pop("labels"), arrays, flight.stride, timings_ms, finite)

    @property
    def precision(self) -> str:
        """What the network computes in."""
        return self.options.precision

    def graph_state(self) -> str:
        """Why the network is not started as a CUDA graph; empty when it is."""
        if not self.options.graph:
            return "no CUDA graph: switched off" if self.device.startswith("cuda") else ""
        return str(getattr(self._run, "refused", ""))

    def memory_mib(self) -> float | None:
        """Memory of the GPU that torch holds in this process, in MiB; None on the CPU."""
        if not self.device.startswith("cuda"):
            return None
        return float(self._torch.cuda.memory_reserved(self.device)) / (1 << 20)

    def close(self) -> None:
        """See `Backend.close`."""
        self._net = self._run = None
        self._flying.clear()
        self._staging = []
        if self.device.startswith("cuda"):
            self._torch.cuda.empty_cache()

    def _network(self, image: Any) -> tuple[Any, Any]:
        order = self._torch.channels_last if self.options.channels_last else self._torch.contiguous_format
        relit, stride_logits, _ = self._run(image.to(dtype=self._dtype, memory_format=order))
        return relit, stride_logits

    def _download(self, output: Any) -> Any:
        """Begin to copy to pinned memory, which torch keeps and hands out again."""
        if not self.device.startswith("cuda"):
            return output
        host = self._torch.empty(output.shape, dtype=output.dtype, pin_memory=True)
        return host.copy_(output, non_blocking=True)

    def _pinned(self, camera: CameraImage) -> Any:
        """One of two staging tensors, in turn; None on the CPU. A frame's is free once it was collected."""
        if not self.device.startswith("cuda"):
            return None
        self._turn = (self._turn + 1) % self.max_in_flight
        needed = max(camera.num_bytes, camera.height * camera.width * 3)
        staging = self._staging[self._turn]
        if staging is None or staging.numel() < needed:
            staging = self._torch.empty(needed, dtype=self._torch.uint8, pin_memory=True)
            self._staging[self._turn] = staging
        return staging

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        if self._net is None:
            raise BackendError("pytorch: the backend is closed: load the model again")
        on_gpu = self.device.startswith("cuda")
        try:
            with self._torch.inference_mode(), self._torch.cuda.device(self.device) if on_gpu else _NOTHING:
                yield
        except RuntimeError as error:
            if on_gpu:
                raise engine_error("pytorch: inference failed", error) from error
            raise BackendError(f"pytorch: inference failed: {first_line(error)}") from error


@dataclass
class _Flight:
    outputs: dict[str, Any]
    stride: TorchStride
    done: Any
    submitting_ms: float


class TorchStride:
    """The network's output of one frame, as a `StrideSource`: it stays on the device until asked for."""

    def __init__(self, logits: Any, relit: Any) -> None:
        self._logits, self._relit = logits, relit

    def logits(self) -> npt.NDArray[np.float32]:
        """K x h x w float32."""
        return np.asarray(self._logits.float().cpu().numpy())

    def relit(self) -> npt.NDArray[np.float32]:
        """3 x H x W float32, ImageNet-normalised."""
        if self._relit is None:
            raise BackendError("relit: not kept: call segment(rgb, with_relit=True)")
        return np.asarray(self._relit.float().cpu().numpy())


def _decide(options: TorchOptions, on_cuda: bool) -> TorchOptions:
    precision = options.precision if options.precision != "auto" else "fp16" if on_cuda else "fp32"
    channels_last = on_cuda if options.channels_last is None else options.channels_last
    on_device = on_cuda if options.on_device is None else options.on_device
    return TorchOptions(precision, channels_last, options.compile, options.graph and on_cuda, on_device)


def _choose_device(torch: Any, device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise BackendError(f"device: got '{device}', which torch cannot use ({reason}): try 'cpu'") from error
    return device


def open_file(path: Path, device: str, threads: int) -> PyTorchBackend:
    """As `open_backend` calls it, see there."""
    return PyTorchBackend.open(path, device, threads)
