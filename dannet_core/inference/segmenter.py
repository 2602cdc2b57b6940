"""One door for inference: `NightSegmenter.load(path).segment(rgb)`."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final

import numpy as np

from dannet_core.errors import BackendError, NotFiniteError, SettingsError
from dannet_core.inference.backends import Backend, choose_backend
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.cpu_frame import CpuFrames, finite, precision_of
from dannet_core.inference.frame import FrameBackend, FrameRequest, FrameResult
from dannet_core.inference.output_job import Buffers, OutputMaker
from dannet_core.inference.outputs import NumpyOutputs, open_outputs
from dannet_core.inference.postprocess import class_scaling, scale_logits
from dannet_core.inference.prediction import Lazy, Prediction
from dannet_core.inference.preprocess import network_size
from dannet_core.inference.presets import PRESETS, InferenceSettings
from dannet_core.metadata import ModelMetadata
from dannet_core.pixels import Rgb

_NO_BUFFERS: Final[Buffers] = MappingProxyType({})


class NightSegmenter:
    """Night picture in, labels out. Use it in the thread that made it, as a context manager or with `close`.

    Attributes:
        why: why this backend runs the model; empty where it was given.
    """

    def __init__(
        self, backend: Backend, settings: InferenceSettings = PRESETS["paper"], outputs: OutputMaker | None = None
    ) -> None:
        """Take over an opened backend.

        Args:
            backend: closed with the segmenter.
            settings: how pictures become labels.
            outputs: makes labels and more of logits where no device does, likewise; None = NumPy.
        """
        self._backend = backend
        self._maker = outputs or NumpyOutputs()
        self._here = CpuFrames(backend, self._maker)
        self._frames = backend if isinstance(backend, FrameBackend) and backend.on_device else None
        self._colormap = backend.metadata.classes.colormap
        self.why = ""
        self._in_flight: deque[Prediction | FrameRequest] = deque()
        self.settings = settings

    @classmethod
    def load(
        cls,
        path: str | Path,
        settings: InferenceSettings = PRESETS["paper"],
        *,
        backend: str = "auto",
        device: str = "auto",
        threads: int = 0,
    ) -> NightSegmenter:
        """Open a model file; the suffix picks the backend. Without a suffix, the best file of that name that runs here.

        Args:
            path: `.safetensors` (PyTorch), `.onnx` (OpenVINO, ONNX Runtime) or `.engine` (TensorRT), or the
                name without it.
            settings: how pictures become labels; see `PRESETS`.
            backend: ``auto``, or a backend's name to insist on.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``; with OpenVINO also an Intel ``gpu``, ``gpu.N`` or ``npu``.
            threads: CPU threads inside one operator, and for what follows the network; 0 = the runtime's own choice.

        Raises:
            ModelFileError: the file is missing, damaged or of an unknown kind.
            MissingPackageError: the backend's package is not installed.
            BackendError: the device is not there.
            SettingsError: the settings do not fit the model.
        """
        choice = choose_backend(path, backend, device, threads)
        on_device = isinstance(choice.backend, FrameBackend) and choice.backend.on_device
        outputs = None if on_device else open_outputs(threads)
        try:
            segmenter = cls(choice.backend, settings, outputs)
        except SettingsError:
            choice.backend.close()
            raise
        segmenter.why = choice.why
        return segmenter

    @property
    def metadata(self) -> ModelMetadata:
        """What the model file says about itself."""
        return self._backend.metadata

    @property
    def backend_name(self) -> str:
        """``pytorch``, ``openvino``, ``onnxruntime`` or ``tensorrt``."""
        return self._backend.name

    @property
    def device(self) -> str:
        """Where the model runs, e.g. ``cpu``."""
        return self._backend.device

    @property
    def precision(self) -> str:
        """What the network computes in: ``fp32``, ``fp16``, ``bf16`` or ``int8``."""
        return precision_of(self._backend)

    @property
    def outputs_by(self) -> str:
        """What makes labels and more of the logits: ``device``, ``numba``, or ``numpy`` with the reason."""
        return "device" if self.on_device else " ".join(filter(None, (self._maker.name, self._maker.why)))

    @property
    def on_device(self) -> bool:
        """Whether everything around the network runs on a GPU too, and frames can overlap."""
        return self._frames is not None

    def memory_mib(self) -> float | None:
        """GPU memory in MiB: torch's in this process, or all that is used where TensorRT runs; None on a CPU."""
        ask = getattr(self._backend, "memory_mib", None)
        used: float | None = None if ask is None else ask()
        return used

    def graph_state(self) -> str:
        """Why frames are not started as one graph; empty where they are, or where there is no such thing."""
        ask = getattr(self._backend, "graph_state", None)
        return "" if ask is None else str(ask())

    def set_profiling(self, on: bool) -> bool:
        """Let a device time its stages (``device_...`` in `Prediction.timings_ms`); False where it cannot."""
        switch = getattr(self._backend, "set_profiling", None)
        return switch is not None and bool(switch(on))

    @property
    def settings(self) -> InferenceSettings:
        """How pictures become labels; may be set between two pictures.

        Raises:
            SettingsError: on setting, when the settings do not fit the model; the old ones stay.
        """
        return self._settings

    @settings.setter
    def settings(self, settings: InferenceSettings) -> None:
        fixed = self._backend.fixed_input_size
        if fixed is not None and settings.input_size not in (None, fixed):
            raise SettingsError(
                f"input_size: got {settings.input_size}, but the model was exported for {fixed}: "
                "leave it unset or export the model at that size"
            )
        if settings.min_confidence > 0 and "confidence" in self.metadata.absent:
            raise SettingsError(
                f"min_confidence: got {settings.min_confidence:g}, expected 0: {self.metadata.absent['confidence']}"
            )
        self._scaling = class_scaling(settings.reweight, self.metadata.class_shares, settings.reweight_std)
        self._settings = settings

    def input_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) the network runs at for a picture of ``image_size``."""
        wanted = self._backend.fixed_input_size or self._settings.input_size or self.metadata.input_size
        return network_size(image_size, wanted)

    @property
    def fixed_input_size(self) -> tuple[int, int] | None:
        """(height, width) the network runs at whatever the settings say; None when any size runs. May be set for those.

        Raises:
            SettingsError: on setting, when the settings ask for another one; nothing is set then.
        """
        return self._backend.fixed_input_size

    @fixed_input_size.setter
    def fixed_input_size(self, size: tuple[int, int]) -> None:
        before, self._backend.fixed_input_size = self._backend.fixed_input_size, size
        try:
            self.settings = self._settings
        except SettingsError:
            self._backend.fixed_input_size = before
            raise

    def segment(
        self, picture: Rgb | CameraImage, *, with_relit: bool = True, outputs: Collection[str] = (), alpha: float = 0.5
    ) -> Prediction:
        """Label one picture.

        Args:
            picture: H x W x 3 uint8, red first, sides of 64 to 16384 pixels, any strides; or what a camera sent, which
                a GPU backend takes as it is.
            with_relit: keep the relit picture, where the model makes one, for `Prediction.relit`; costs a copy on some
                backends.
            outputs: of `dannet_core.inference.frame.EXTRA_OUTPUTS`, what to make together with the labels, as
                `Prediction.outputs`; on a GPU that costs next to nothing, later it costs what it costs on a CPU.
            alpha: opacity of the colours in the output ``overlay``.

        Returns:
            labels at the picture's own resolution; confidence, relit and colours on demand.

        Raises:
            ImageError: ``picture`` is not such an array.
            SettingsError: an unknown output, or one that this model cannot give.
            NotFiniteError: the network gave NaN or infinity for this picture.
            BackendError: the network failed to run, or frames are in flight.
        """
        if self._in_flight:
            raise BackendError(f"segment: {len(self._in_flight)} submitted pictures are in flight: collect them first")
        self.submit(picture, with_relit=with_relit, outputs=outputs, alpha=alpha, overlapped=False)
        return self.collect()

    def submit(
        self,
        picture: Rgb | CameraImage,
        *,
        with_relit: bool = True,
        outputs: Collection[str] = (),
        alpha: float = 0.5,
        overlapped: bool = True,
        into: Buffers = _NO_BUFFERS,
    ) -> None:
        """Begin to label a picture; `collect` gives the result. On a GPU up to `max_in_flight` overlap.

        Args:
            picture: as for `segment`; it may change as soon as this returns.
            with_relit: likewise.
            outputs: likewise.
            alpha: likewise.
            overlapped: False where nothing else will be submitted before it is collected, which starts faster.
            into: where to write ``labels`` and outputs of bytes, contiguous and of the picture's size, instead of new
                arrays; a device has buffers of its own and does not look at it.

        Raises:
            ImageError, SettingsError: as `segment`.
            BackendError: the network failed to run, or too many pictures are in flight.
        """
        camera = picture if isinstance(picture, CameraImage) else CameraImage.from_rgb(picture)
        absent = self.metadata.absent
        for name in sorted(outputs) if absent else ():
            if (reason := absent.get(name.removesuffix("_bytes"))) is not None:
                raise SettingsError(f"outputs: got '{name}': {reason}")
        with_relit = with_relit and "relit" not in absent
        request = FrameRequest(self._settings, self.input_size(camera.size), frozenset(outputs), alpha, with_relit)
        if len(self._in_flight) >= self.max_in_flight:
            raise BackendError(f"submit: {len(self._in_flight)} pictures are in flight: collect one first")
        if self._frames is None:
            self._in_flight.append(self._here.run(camera, request, self._scaling, into))
        elif overlapped:
            self._frames.submit(camera, request)
            self._in_flight.append(request)
        else:
            self._in_flight.append(self._from_device(self._frames.run_frame(camera, request), request))

    def collect(self) -> Prediction:
        """Wait for the picture that was submitted first.

        Raises:
            NotFiniteError: the network gave NaN or infinity for that picture; the next may be a good one.
            BackendError: the network failed to run, or nothing was submitted.
        """
        if not self._in_flight:
            raise BackendError("collect: nothing is in flight: submit a picture first")
        first = self._in_flight.popleft()
        if isinstance(first, Prediction):
            return first
        assert self._frames is not None, "only a device leaves a request behind"
        return self._from_device(self._frames.collect(), first)

    @property
    def max_in_flight(self) -> int:
        """Pictures that may be submitted before one is collected."""
        return 2 if self._frames is None else self._frames.max_in_flight

    def warm_up(self, image_size: tuple[int, int] = (1080, 1920), rounds: int = 2) -> None:
        """Run on black pictures of (height, width), so that the first real one does not pay for allocations.

        Raises:
            NotFiniteError: once it has run often enough: a black picture gives no labels, another one may.
        """
        refused: NotFiniteError | None = None
        # A device has several sets of buffers, and each sets itself up.
        for _ in range(rounds if self._frames is None else rounds * self.max_in_flight):
            try:
                self.segment(np.zeros((*image_size, 3), dtype=np.uint8))
            except NotFiniteError as error:
                refused = error
        if refused is not None:
            raise refused

    def close(self) -> None:
        """Free the model; calling it twice is harmless."""
        self._in_flight.clear()
        self._backend.close()
        self._maker.close()

    def __enter__(self) -> NightSegmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _from_device(self, result: FrameResult, request: FrameRequest) -> Prediction:
        scaling, stride = request.scaling(self.metadata), result.stride
        if not result.finite:
            finite(self._backend, lambda: scale_logits(stride.logits(), scaling))  # counts them and raises
            raise NotFiniteError(f"stride_logits: {self.device} saw NaN or infinity in them, expected numbers")
        relit = stride.relit if request.with_relit else None
        metadata, logits = self.metadata, stride.logits
        lazy = Lazy(
            lambda: scale_logits(logits(), scaling), relit, metadata.align_corners, self._colormap, metadata.absent
        )
        return Prediction(result.labels, lazy, result.timings_ms, result.extras)
