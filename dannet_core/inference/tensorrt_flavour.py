"""TensorRT 10, TensorRT 11 and TensorRT for RTX: all that differs between them, in one place."""

from __future__ import annotations

import functools
import importlib.util
import platform
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from dannet_core.errors import BackendError, SettingsError, require
from dannet_core.inference.engine_file import FLAVOURS, Running, portable_targets
from dannet_core.inference.gpu import find_gpu

# PyPI's for aarch64 is for servers: a Jetson has JetPack's.
_ON_JETSON: Final = ", on a Jetson apt install python3-libnvinfer" if platform.machine() == "aarch64" else ""
INSTALL: Final = {"tensorrt": f"pip install tensorrt{_ON_JETSON}", "tensorrt_rtx": "pip install tensorrt-rtx-cu13"}
OLDEST: Final = {"tensorrt": (10, 3), "tensorrt_rtx": (1, 2)}
"""Older ones lack strong typing or the progress monitor; JetPack 6 has TensorRT 10.3."""

_ERRORS_KEPT: Final = 3


@dataclass(frozen=True)
class Flavour:
    """One installed TensorRT.

    | | TensorRT 10 | TensorRT 11 | TensorRT for RTX |
    |---|---|---|---|
    | strongly typed network | a flag | always | always |
    | building | on the GPU it will run on | likewise | on any machine |
    | compute capability | the GPU's | the GPU's | a list of targets, or all it knows from 8.0 on |
    | timing cache | yes | yes | no: tactics are chosen when it first runs |
    | kernels compiled while running | no | no | yes: keep its runtime cache |

    Attributes:
        name: ``tensorrt`` or ``tensorrt_rtx``, the module's name.
        version: e.g. ``10.3.0``.
        module: the module itself.
    """

    name: str
    version: str
    module: ModuleType

    @property
    def is_rtx(self) -> bool:
        """Whether it is TensorRT for RTX."""
        return self.name == "tensorrt_rtx"

    @property
    def needs_gpu_to_build(self) -> bool:
        """Whether engines are built by timing kernels on the GPU they will run on."""
        return not self.is_rtx

    @property
    def has_timing_cache(self) -> bool:
        """Whether a build keeps what it timed for the next one."""
        return not self.is_rtx

    @property
    def has_runtime_cache(self) -> bool:
        """Whether kernels are compiled while running, and can be kept."""
        return self.is_rtx

    @property
    def network_flags(self) -> int:
        """Flags for ``create_network``: strongly typed, so that the graph alone decides about precision."""
        # TensorRT 11 and TensorRT for RTX know no other networks; 11 keeps the flag without effect, and may drop it.
        flag = getattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return 0 if flag is None else 1 << int(flag)

    def known_targets(self) -> tuple[str, ...]:
        """Compute capabilities that engines can be built for without the GPU; empty except for TensorRT for RTX."""
        kinds = getattr(self.module, "ComputeCapability", None) if self.is_rtx else None
        members: dict[str, Any] = {} if kinds is None else kinds.__members__
        numbers = sorted(int(name[2:]) for name in members if name.startswith("SM"))
        return tuple(f"{number // 10}.{number % 10}" for number in numbers)

    def target(self, compute_capability: str) -> Any:
        """The library's value for one of `known_targets`.

        Raises:
            SettingsError: it cannot build for that one.
        """
        known = self.known_targets()
        if compute_capability not in known:
            expected = f"one of {', '.join(known)}" if known else "none: only TensorRT for RTX has targets"
            raise SettingsError(f"targets: got {compute_capability!r}, {self} builds for {expected}")
        return getattr(self.module.ComputeCapability, "SM" + compute_capability.replace(".", ""))

    def running(self, device: int = 0) -> Running:
        """What an engine would run with on GPU number ``device``; its GPU is None where there is none."""
        gpu = find_gpu(device)
        name, capability = (None, None) if gpu is None else gpu
        return Running(self.name, self.version, name, capability, self.known_targets())

    def check_gpu(self, running: Running) -> None:
        """Refuse to build without targets on a machine whose GPU could not run the engine; without a GPU all is well.

        Raises:
            BackendError: the flavour has no kernels for that GPU, or leaves it out unless it is asked for.
        """
        capability, portable = running.compute_capability, portable_targets(running.known)
        if not self.is_rtx or capability is None or capability in portable:
            return
        here = f"{running.gpu} (compute capability {capability})"
        if running.is_unknown_gpu:
            raise BackendError(
                f"{self}: has no kernels for {here}, only for {', '.join(running.known)}: that GPU needs flavour "
                f"tensorrt ({INSTALL['tensorrt']}); give targets to build for another machine's GPU"
            )
        raise BackendError(
            f"{self}: builds for {', '.join(portable)} unless targets say otherwise, and here is {here}: "
            f"give targets {capability} to build for it"
        )

    def error_log(self) -> Any:
        """The library's one ``ILogger`` in this process, whose old words are forgotten now.

        Its ``take()`` gives the first errors since the last call, one line; empty when none. TensorRT keeps the logger
        of its first runtime for all that follow: with one for each, a second model's errors would go to the first.
        """
        log = _error_log(self.module)
        log.take()
        return log

    def __str__(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"


@functools.cache
def _error_log(module: ModuleType) -> Any:
    base: Any = module.ILogger

    class ErrorLog(base):  # type: ignore[misc]  # the base is known when TensorRT is imported
        def __init__(self) -> None:
            base.__init__(self)
            self._errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= base.Severity.ERROR and len(self._errors) < _ERRORS_KEPT:
                self._errors.append(" ".join(message.split())[:300])

        def take(self) -> str:
            errors, self._errors = self._errors, []
            return "; ".join(errors)

    return ErrorLog()


def import_flavour(name: str, needed_for: str = "run .engine models") -> Flavour:
    """Import the flavour of that name.

    Args:
        name: ``tensorrt`` or ``tensorrt_rtx``.
        needed_for: completes "X is needed to ..." in the message when it is not installed.

    Raises:
        SettingsError: unknown name.
        MissingPackageError: it is not installed.
        BackendError: it is older than `OLDEST`.
    """
    if name not in FLAVOURS:
        raise SettingsError(f"flavour: got {name!r}, expected one of {', '.join(FLAVOURS)}")
    module = require(name, needed_for, INSTALL[name])
    version = str(module.__version__)
    oldest = OLDEST[name]
    if tuple(int(part) for part in version.split(".")[:2]) < oldest:
        raise BackendError(f"{name}: got version {version}, expected {oldest[0]}.{oldest[1]} or later: {INSTALL[name]}")
    return Flavour(name, version, module)


def choose_flavour_to_build() -> str:
    """``tensorrt`` where it is installed and a GPU is at hand, else ``tensorrt_rtx``, which builds anywhere."""
    has_tensorrt = importlib.util.find_spec("tensorrt") is not None
    return "tensorrt" if has_tensorrt and find_gpu() is not None else "tensorrt_rtx"
