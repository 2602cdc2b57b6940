"""A torch function as a CUDA graph: hundreds of launches become one."""

from __future__ import annotations

from typing import Any, Final

from dannet_core.errors import first_line

SIZES_KEPT: Final = 2
WARM_UP_RUNS: Final = 3


class TorchGraph:
    """Calls a function of one CUDA tensor through a graph, captured at the first call for each shape.

    The outputs lie in the same memory every time: use or copy them before the next call.

    Attributes:
        refused: why no graph is used; empty where one is, or none was tried yet.
    """

    def __init__(self, torch: Any, function: Any) -> None:
        self._torch = torch
        self._function = function
        self.refused = ""
        self._captured: dict[Any, tuple[Any, Any, Any]] = {}

    def __call__(self, image: Any) -> Any:
        """What the function gives for ``image``, 1 x 3 x H x W."""
        if self.refused:
            return self._function(image)
        key = (tuple(image.shape), image.dtype)
        if key not in self._captured:
            while len(self._captured) >= SIZES_KEPT:
                self._captured.pop(next(iter(self._captured)))
            try:
                self._captured[key] = self._capture(image)
            except RuntimeError as error:
                self.refused = first_line(error)
                return self._function(image)
        static, graph, outputs = self._captured[key]
        static.copy_(image)
        graph.replay()
        return outputs

    def _capture(self, image: Any) -> tuple[Any, Any, Any]:
        torch = self._torch
        static = image.clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            # Libraries choose their algorithms and take their workspaces in the first runs.
            for _ in range(WARM_UP_RUNS):
                self._function(static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self._function(static)
        return static, graph, outputs
