"""One frame's way over a device: copy in, two kernels around the network, copy out; two frames in turn.

Three streams run side by side, so that the next frame is copied in while the network works on this one. Every frame
has its own buffers; a captured graph starts the whole of it with one call. After the first frames of a camera format
nothing is allocated any more.
"""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dannet_core.errors import BackendError
from dannet_core.inference.backends.device import Device, Graph, Network
from dannet_core.inference.backends.frame_slot import FrameSlot, SlotStride
from dannet_core.inference.camera_image import CameraImage
from dannet_core.inference.frame import FrameRequest, FrameResult
from dannet_core.inference.kernels.jobs import CameraFormat, CameraLaunch, LabelLaunch, camera_launch, label_launch
from dannet_core.metadata import ModelMetadata

SLOTS: Final = 2
"""Frames in work at once: one on its way in, one in the network."""
PLANS_KEPT: Final = 8
STAGES: Final = ("upload", "preprocess", "infer", "postprocess", "download")
IMAGE, LOGITS, RELIT = "image", "stride_logits", "relit"


@dataclass
class _Plan:
    """Both launches of one camera format and request, with their tables on the device."""

    camera: CameraLaunch
    labels: LabelLaunch
    request: FrameRequest
    camera_tables: dict[str, Any]
    label_tables: dict[str, Any]
    runs: list[int]
    graphs: dict[tuple[int, str], tuple[int, Graph]]

    def free(self) -> None:
        for owned in (
            *(graph for _, graph in self.graphs.values()),
            *self.camera_tables.values(),
            *self.label_tables.values(),
        ):
            owned.free()


class FrameRunner:
    """Runs frames through a network on a device.

    Attributes:
        graph_refused: why no graph is used; empty where graphs are used or were not tried yet.
        profile: record what each stage takes on the device; switches graphs off.
    """

    def __init__(self, device: Device, network: Network, metadata: ModelMetadata, *, graphs: bool = True) -> None:
        self._device = device
        self._network = network
        self._metadata = metadata
        self._copy_in, self._compute, self._copy_out, self._fetching = (device.stream() for _ in range(4))
        self._slots = [FrameSlot(device, network, len(STAGES) + 1) for _ in range(SLOTS)]
        self._plans: OrderedDict[tuple[CameraFormat, FrameRequest], _Plan] = OrderedDict()
        self._flying: deque[tuple[FrameSlot, FrameRequest, float]] = deque()
        self._turn = 0
        self._graphs = graphs
        self.graph_refused = "" if graphs else "switched off"
        self.profile = False

    @property
    def in_flight(self) -> int:
        """Frames submitted and not collected."""
        return len(self._flying)

    def run(self, camera: CameraImage, request: FrameRequest) -> FrameResult:
        """See `FrameBackend.run_frame`."""
        if self._flying:
            raise BackendError(f"segment: {len(self._flying)} submitted frames are in flight: collect them first")
        self._begin(camera, request, "frame")
        return self.collect()

    def submit(self, camera: CameraImage, request: FrameRequest) -> None:
        """See `FrameBackend.submit`."""
        if len(self._flying) == SLOTS:
            raise BackendError(f"submit: {SLOTS} frames are in flight: collect one first")
        self._begin(camera, request, "compute")

    def collect(self) -> FrameResult:
        """See `FrameBackend.collect`."""
        if not self._flying:
            raise BackendError("collect: no frame is in flight: submit one first")
        slot, request, submitting_ms = self._flying.popleft()
        start_s = time.perf_counter()
        self._device.synchronize(slot.done)
        waited_s = time.perf_counter()
        labels = slot.host_output("labels").copy()
        extras = {name: slot.host_output(name).copy() for name in request.outputs}
        timings_ms = {
            "preprocess": submitting_ms,
            "infer": (waited_s - start_s) * 1e3,
            "postprocess": (time.perf_counter() - waited_s) * 1e3,
        }
        if self.profile:
            timings_ms |= self._stage_times(slot)
        stride = SlotStride(slot, self._fetch, request.with_relit and "relit" not in self._metadata.absent)
        return FrameResult(labels, extras, stride, timings_ms, finite=not slot.host_flag.any())

    def run_network(self, image: np.ndarray[Any, Any], with_relit: bool) -> tuple[Any, Any]:
        """Only the network: 1 x 3 x H x W float32 in, K x h x w and 3 x H x W float32 (or None) out."""
        if self._flying:
            raise BackendError(f"infer: {len(self._flying)} submitted frames are in flight: collect them first")
        slot = self._next_slot()
        staged = slot.host(IMAGE)
        np.copyto(staged, image, casting="same_kind")
        self._device.upload(slot.buffers[IMAGE], staged, self._compute)
        self._network.enqueue(slot.addresses(), self._compute)
        self._device.record(slot.done, self._compute)
        self._device.synchronize(slot.done)
        relit = self._fetch(slot, RELIT) if with_relit and "relit" not in self._metadata.absent else None
        return self._fetch(slot, LOGITS), relit

    def close(self) -> None:
        """Wait for what is in work, keep what predictions still need, free everything."""
        while self._flying:
            self._device.synchronize(self._flying.popleft()[0].done)
        for slot in self._slots:
            slot.free()
        for plan in self._plans.values():
            plan.free()
        self._plans.clear()
        # Streams and events must be gone before the device's context is.
        self._slots.clear()
        del self._copy_in, self._compute, self._copy_out, self._fetching

    def _begin(self, camera: CameraImage, request: FrameRequest, part: str) -> None:
        start_s = time.perf_counter()
        slot = self._next_slot()
        plan = self._plan(camera, request)
        slot.put(plan.camera.camera, camera)
        self._start(slot, plan, part)
        self._flying.append((slot, request, (time.perf_counter() - start_s) * 1e3))

    def _start(self, slot: FrameSlot, plan: _Plan, part: str) -> None:
        """Put one frame into the streams: all of it as a graph, only the computing as one, or piece by piece."""
        graph = self._graph(slot, plan, part)
        if graph is not None and part == "frame":
            graph.launch(self._copy_in)
            self._device.record(slot.done, self._copy_in)
        else:
            compute = (lambda: graph.launch(self._compute)) if graph is not None else None
            self._enqueue(slot, plan, compute)
            self._device.record(slot.done, self._copy_out)
        plan.runs[self._slots.index(slot)] += 1

    def _graph(self, slot: FrameSlot, plan: _Plan, part: str) -> Graph | None:
        """The slot's graph, captured the second time around: libraries set themselves up in the first run."""
        index = self._slots.index(slot)
        if not self._graphs or self.graph_refused or self.profile or plan.runs[index] == 0:
            return None
        generation, graph = plan.graphs.get((index, part), (-1, None))
        if generation != slot.generation:
            if graph is not None:
                graph.free()
            self.graph_refused = self._capture_refused()
            if self.graph_refused:
                return None
            stream, work = self._copy_in, lambda: self._enqueue_joined(slot, plan)
            if part == "compute":
                stream, work = self._compute, lambda: self._enqueue_compute(slot, plan)
            try:
                graph = self._device.capture(stream, work)
            except BackendError as error:
                plan.graphs.pop((index, part), None)
                self.graph_refused = str(error)
                return None
            plan.graphs[index, part] = slot.generation, graph
        return graph

    def _capture_refused(self) -> str:
        ask = getattr(self._network, "capture_refused", None)
        return "" if ask is None else str(ask(self._compute))

    def _enqueue(self, slot: FrameSlot, plan: _Plan, compute: Callable[[], None] | None = None) -> None:
        device, times = self._device, slot.stage_events
        self._mark(times[0], self._copy_in)
        device.upload(slot.camera, slot.host_camera[: slot.camera_bytes], self._copy_in)
        self._mark(times[1], self._copy_in)
        device.record(slot.uploaded, self._copy_in)
        device.wait(self._compute, slot.uploaded)
        if compute is None:
            self._enqueue_compute(slot, plan)
        else:
            compute()
        device.record(slot.computed, self._compute)
        device.wait(self._copy_out, slot.computed)
        for name in ("labels", *sorted(plan.request.outputs)):
            device.download(slot.host_output(name), slot.outputs[name], self._copy_out)
        device.download(slot.host_flag, slot.not_finite, self._copy_out)
        self._mark(times[5], self._copy_out)

    def _enqueue_compute(self, slot: FrameSlot, plan: _Plan) -> None:
        device, stream, times = self._device, self._compute, slot.stage_events
        request = plan.request
        flag = slot.not_finite.address
        job = plan.camera.job(slot.camera.address, slot.buffers[IMAGE].address, _addresses(plan.camera_tables), flag)
        device.launch("camera_to_network", bytes(job), plan.camera.grid, plan.camera.shared_bytes, stream)
        self._mark(times[2], stream)
        self._network.enqueue(slot.addresses(), stream)
        self._mark(times[3], stream)
        label_job = plan.labels.job(
            slot.camera.address,
            slot.buffers[LOGITS].address,
            _addresses(plan.label_tables),
            {"not_finite": flag} | _addresses({name: slot.outputs[name] for name in ("labels", *request.outputs)}),
            request.settings.min_confidence,
            request.alpha,
        )
        device.launch("logits_to_outputs", bytes(label_job), plan.labels.grid, plan.labels.shared_bytes, stream)
        self._mark(times[4], stream)

    def _enqueue_joined(self, slot: FrameSlot, plan: _Plan) -> None:
        """A graph must end in the stream it began in."""
        self._enqueue(slot, plan)
        self._device.record(slot.joined, self._copy_out)
        self._device.wait(self._copy_in, slot.joined)

    def _mark(self, event: Any, stream: Any) -> None:
        if self.profile:
            self._device.record(event, stream)

    def _stage_times(self, slot: FrameSlot) -> dict[str, float]:
        events = slot.stage_events
        return {f"device_{name}": self._device.elapsed_ms(events[i], events[i + 1]) for i, name in enumerate(STAGES)}

    def _next_slot(self) -> FrameSlot:
        slot = self._slots[self._turn]
        self._turn = (self._turn + 1) % SLOTS
        slot.keep_for_owner()
        return slot

    def _plan(self, camera: CameraImage, request: FrameRequest) -> _Plan:
        format_ = CameraFormat(camera.height, camera.width, camera.step, camera.encoding)
        key = (format_, dataclasses.replace(request, with_relit=False))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._new_plan(format_, request)
            if len(self._plans) > PLANS_KEPT:
                self._drop_oldest_plan()
        self._plans.move_to_end(key)
        return plan

    def _drop_oldest_plan(self) -> None:
        # Its tables may still be read by a frame in work.
        for slot, _, _ in self._flying:
            self._device.synchronize(slot.done)
        self._plans.popitem(last=False)[1].free()

    def _new_plan(self, camera: CameraFormat, request: FrameRequest) -> _Plan:
        shapes, half = self._network.shapes, {name: kind == np.float16 for name, kind in self._network.dtypes.items()}
        height, width = shapes[IMAGE][2:]
        classes, rows, columns = shapes[LOGITS][1:]
        resize, align_corners = request.settings.resize, self._metadata.align_corners
        before = camera_launch(camera, (height, width), half[IMAGE], resize)
        colormap = self._metadata.classes.colormap
        after = label_launch(camera, (classes, rows, columns), half[LOGITS], align_corners, colormap)
        scaling = request.scaling(self._metadata)
        return _Plan(
            camera=before,
            labels=after,
            request=request,
            camera_tables=self._on_device(before.tables),
            label_tables=self._on_device({**after.tables, "factor": scaling.factor, "offset": scaling.offset}),
            runs=[0] * SLOTS,
            graphs={},
        )

    def _on_device(self, tables: dict[str, Any]) -> dict[str, Any]:
        buffers = {}
        done = self._slots[0].joined
        for name, values in tables.items():
            table = np.ascontiguousarray(values)
            buffers[name] = self._device.allocate(table.nbytes)
            self._device.upload(buffers[name], table, self._copy_in)
            self._device.record(done, self._copy_in)
            self._device.synchronize(done)
        return buffers

    def _fetch(self, slot: FrameSlot, name: str) -> Any:
        host = slot.host(name)
        self._device.download(host, slot.buffers[name], self._fetching)
        self._device.record(slot.fetched, self._fetching)
        self._device.synchronize(slot.fetched)
        return host[0].astype(np.float32)


def _addresses(buffers: dict[str, Any]) -> dict[str, int]:
    return {name: buffer.address for name, buffer in buffers.items()}
