"""A torch function as a CUDA graph: hundreds of launches become one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from dannet_core.errors import first_line

SIZES_KEPT: Final = 2
WARM_UP_RUNS: Final = 3
CAPTURE_MODE: Final = "thread_local"
"""What other threads of this process do, those of the ROS node for one, is none of the graph's business."""


class TorchGraph:
    """Calls a function of one CUDA tensor through a graph, captured at the first call for each shape.

    The outputs lie in the same memory every time: use or copy them before the next call.

    Attributes:
        refused: why no graph is used; empty where one is, or none was tried yet.
    """

    def __init__(self, torch: Any, function: Any, prepare: Callable[[Any], Any]) -> None:
        """Wrap a function.

        Args:
            torch: the module.
            function: of one tensor as ``prepare`` gives it.
            prepare: brings an image into the function's type and memory order; may return the image itself.
        """
        self._torch = torch
        self._function = function
        self._prepare = prepare
        self.refused = ""
        self._captured: dict[Any, tuple[Any, Any, Any]] = {}

    def __call__(self, image: Any) -> Any:
        """What the function gives for ``image``, 1 x 3 x H x W of any floating type and memory order."""
        if self.refused:
            return self._function(self._prepare(image))
        key = tuple(image.shape)
        if key not in self._captured:
            self._make_room()
            try:
                self._captured[key] = self._capture(image)
            except RuntimeError as error:
                self.refused = first_line(error)
                return self._function(self._prepare(image))
        static, graph, outputs = self._captured[key]
        # One kernel converts, reorders and copies.
        static.copy_(image)
        graph.replay()
        return outputs

    def _make_room(self) -> None:
        if len(self._captured) >= SIZES_KEPT:
            # The graph that goes may still be at work for a frame in flight.
            self._torch.cuda.current_stream().synchronize()
        while len(self._captured) >= SIZES_KEPT:
            self._captured.pop(next(iter(self._captured)))

    def _capture(self, image: Any) -> tuple[Any, Any, Any]:
        torch = self._torch
        static = self._prepare(image).clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            # Libraries choose their algorithms and take their workspaces in the first runs.
            for _ in range(WARM_UP_RUNS):
                self._function(static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode=CAPTURE_MODE):
            outputs = self._function(static)
        return static, graph, outputs
