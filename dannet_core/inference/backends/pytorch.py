"""PyTorch backend: `.safetensors` files, on the CPU or on CUDA; there everything around the network too."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dannet_core.errors import BackendError, SettingsError, first_line, require
from dannet_core.inference.backends.backend import StrideOutput
from dannet_core.inference.backends.cuda_errors import engine_error
from dannet_core.inference.backends.driver_kernels import open_kernels
from dannet_core.inference.backends.frame_runner import STAGES
from dannet_core.inference.backends.torch_frame import TorchFrame, TorchStride
from dannet_core.inference.backends.torch_graph import TorchGraph
from dannet_core.inference.backends.torch_kernels import KernelFrame, check_agreement
from dannet_core.inference.backends.torch_options import TorchOptions, decide, set_up_process
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.frame import FrameRequest, FrameResult
from dannet_core.metadata import ModelMetadata

INSTALL: Final = "pip install 'dannet_ros[train]'"
_NOTHING: Final = contextlib.nullcontext()


class PyTorchBackend:
    """Runs the network itself, at any input size.

    Attributes:
        options: with every "auto" and None decided.
        remark: what is not as it would be at best, for whoever asks why this backend was chosen.
    """

    name = "pytorch"
    fixed_input_size: tuple[int, int] | None = None
    max_in_flight = 2

    def __init__(
        self, net: Any, metadata: ModelMetadata, device: str = "cpu", options: TorchOptions | None = None
    ) -> None:
        """Run a network that is there already, e.g. one in training: it is put into eval mode.

        Args:
            net: a `dannet_core.networks.DANNet` on ``device``. It is converted in place where the options say so.
            metadata: describes it.
            device: where it is.
            options: None = as it is, on the CPU paths.

        Raises:
            SettingsError: a weight is too large for fp16.
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
        self._convert()
        self._run: Any = self._torch.compile(self._net.at_stride) if self.options.compile else self._net.at_stride
        if self.options.graph:
            self._run = TorchGraph(self._torch, self._run, self._prepared)
        self._flying: deque[_Flight] = deque()
        self._staging: list[Any] = [None] * self.max_in_flight
        self._turn = 0
        self._new_mark: Callable[[], Any] | None = None
        if device.startswith("cuda"):
            self._new_mark = lambda: self._torch.cuda.Event(enable_timing=True)
        self._profile = False
        self.remark = ""
        self._frame: TorchFrame | KernelFrame = TorchFrame(metadata, device)
        if self.options.kernels:
            self._take_kernels(self._frame)

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
        from dannet_core.networks.folding import beyond_half, fold_batch_norms
        from dannet_core.networks.weights import load_metadata, load_weights

        chosen = _choose_device(torch, device)
        set_up_process(torch, chosen, threads)
        wanted, net = options or TorchOptions(), load_weights(path)
        decided, remark = decide(wanted, chosen.startswith("cuda")), ""
        if decided.fold:
            fold_batch_norms(net.eval())
        if wanted.precision == "auto" and decided.precision == "fp16" and (name := beyond_half(net)) is not None:
            decided, remark = dataclasses.replace(decided, precision="fp32"), f"in fp32: weight '{name}' exceeds fp16"
        backend = cls(net.to(chosen), load_metadata(path), chosen, decided)
        backend.remark = "; ".join(filter(None, (remark, backend.remark)))
        return backend

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
        frame: Any = self._frame
        with self._guarded():
            marks = [self._mark()]
            picture = frame.upload(camera, self._pinned(camera))
            marks.append(self._mark())
            image = frame.preprocess(picture, request)
            marks.append(self._mark())
            relit, logits = self._network(image)
            marks.append(self._mark())
            # A graph writes its outputs to the same place every time.
            logits, relit = logits[0].clone(), relit[0].clone() if request.with_relit else None
            outputs = frame.postprocess(logits, picture, request)
            marks.append(self._mark())
            host = {name: self._download(output) for name, output in outputs.items()}
            marks.append(self._mark())
            done = self._done()
        submitting_ms = (time.perf_counter() - start_s) * 1e3
        self._flying.append(_Flight(host, TorchStride(logits, relit), done, submitting_ms, marks))

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
            stages = flight.stage_times()
            arrays = {name: tensor.numpy() for name, tensor in flight.outputs.items()}
        timings_ms = {
            "preprocess": flight.submitting_ms,
            "infer": (waited_s - start_s) * 1e3,
            "postprocess": (time.perf_counter() - waited_s) * 1e3,
            **stages,
        }
        finite = bool(arrays.pop("finite")[0])
        return FrameResult(arrays.pop("labels"), arrays, flight.stride, timings_ms, finite)

    @property
    def precision(self) -> str:
        """What the network computes in."""
        return self.options.precision

    @property
    def ends_by(self) -> str:
        """What does what comes before and after the network on the device: ``kernels`` or ``torch``."""
        return "kernels" if isinstance(self._frame, KernelFrame) else "torch"

    def set_profiling(self, on: bool) -> bool:
        """Let frames say what each stage takes on the GPU (``device_infer`` and so on); False where there is none.

        Raises:
            BackendError: frames are in flight.
        """
        if self._new_mark is None:
            return False
        if self._flying:
            raise BackendError(f"profiling: {len(self._flying)} frames are in flight: collect them first")
        self._profile = on
        return True

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
        if self._net is None:
            return
        # A lost GPU has nothing at work and gives nothing back.
        with contextlib.suppress(BackendError), self._guarded():
            while self._flying:
                flight = self._flying.popleft()
                if flight.done is not None:
                    flight.done.synchronize()
            if isinstance(self._frame, KernelFrame):
                self._frame.close()
        self._net = self._run = None
        self._flying.clear()
        self._staging = []
        if self.device.startswith("cuda"):
            self._torch.cuda.empty_cache()

    def _convert(self) -> None:
        from dannet_core.networks.folding import beyond_half, fold_batch_norms

        if self.options.fold:
            fold_batch_norms(self._net)
        if self._dtype == self._torch.float16 and (name := beyond_half(self._net)) is not None:
            raise SettingsError(
                f"precision: got 'fp16', but weight '{name}' exceeds its largest number 65504: use fp32"
            )
        if self._dtype != self._torch.float32:
            self._net = self._net.to(self._dtype)
        if self.options.channels_last:
            self._net = self._net.to(memory_format=self._torch.channels_last)

    def _take_kernels(self, operations: TorchFrame) -> None:
        """Do both ends by the project's kernels if they compile here and compute what torch operations do."""
        half = self._dtype == self._torch.float16
        try:
            with self._guarded():
                self._torch.empty(1, device=self.device)  # makes the context current
                launcher = open_kernels(self._torch, self.device)
                kernels = KernelFrame(self._torch, self.metadata, self.device, launcher, half=half)
                check_agreement(self._torch, kernels, operations, self.metadata)
        except BackendError as error:
            if getattr(error, "fatal", False):
                raise
            self.remark = f"torch operations around the network: {error}"
        else:
            self._frame = kernels

    def _network(self, image: Any) -> tuple[Any, Any]:
        relit, stride_logits, _ = self._run(image if self.options.graph else self._prepared(image))
        return relit, stride_logits

    def _prepared(self, image: Any) -> Any:
        """In the network's type and memory order."""
        order = self._torch.channels_last if self.options.channels_last else self._torch.contiguous_format
        return image.to(dtype=self._dtype, memory_format=order)

    def _mark(self) -> Any:
        """A mark in the stream for profiling; None without."""
        if not self._profile or self._new_mark is None:
            return None
        mark = self._new_mark()
        mark.record()
        return mark

    def _done(self) -> Any:
        """A mark to wait for without keeping a core busy; None on the CPU."""
        if not self.device.startswith("cuda"):
            return None
        done = self._torch.cuda.Event(blocking=True)
        done.record()
        return done

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
        table = 0 if camera.table is None else camera.table.size
        needed = max(camera.num_bytes + table, camera.height * camera.width * 3)
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
    marks: list[Any]

    def stage_times(self) -> dict[str, float]:
        """What each stage took on the device, in ms; empty without marks."""
        if self.marks[0] is None:
            return {}
        spans = zip(STAGES, self.marks, self.marks[1:], strict=False)
        return {f"device_{stage}": float(begin.elapsed_time(end)) for stage, begin, end in spans}


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
