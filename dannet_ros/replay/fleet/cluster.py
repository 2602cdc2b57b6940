"""Workers of a Ray cluster: a task for every call, on whatever machine has room."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any, Final

from dannet_core.errors import DannetError, SettingsError, first_line, require
from dannet_ros.replay.fleet.workers import Died

INSTALL_RAY: Final = "pip install 'dannet_ros[ray]'"
_CONNECT_S: Final = 10.0
_PATIENCE_S: Final = 20.0
"""How long tasks that are told to stop may take for their frames in work."""


class ClusterError(DannetError):
    """The cluster is not there, or has not what is asked for."""


class Cluster:
    """See `Workers`. Ray starts a lost call again nowhere by itself: who waits for it is told, and counts."""

    def __init__(self, address: str, device: str, threads: int, most: int | None) -> None:
        """Connect.

        Args:
            address: ``HOST:PORT``, ``ray://HOST:PORT``, or ``auto`` for the cluster that this machine is part of.
            device: of the models; with ``auto`` a GPU each where the cluster has any.
            threads: CPUs for each call.
            most: calls at a time; None = as many as there is room for.

        Raises:
            MissingPackageError: Ray is not installed.
            ClusterError: there is no such cluster.
            SettingsError: it has no machine with so many CPUs, or no GPU.
        """
        ray = require("ray", "evaluate bags on a cluster", INSTALL_RAY)
        self._ray: Any = ray
        self._running: dict[Any, str] = {}
        self._remote: dict[Callable[[Any], Any], Any] = {}
        _require_open(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
        except Exception as error:
            raise ClusterError(f"ray: no cluster at {address}: {first_line(error)}: ray start --head") from error
        try:
            self._options, room = _demands(ray, device, threads)
        except DannetError:
            ray.shutdown()
            raise
        self.count = min(most or room, room)
        self.about = f"{self.count} at a time on {address}, {threads} threads each"

    def start(self, key: str, function: Callable[[Any], Any], argument: Any) -> None:
        """See `Workers.start`."""
        if function not in self._remote:
            self._remote[function] = self._ray.remote(max_retries=0, **self._options)(function)
        self._running[self._remote[function].remote(argument)] = key

    def wait(self, timeout_s: float) -> list[tuple[str, Any]]:
        """See `Workers.wait`."""
        if not self._running:
            return []
        waiting = list(self._running)
        try:
            ready, _ = self._ray.wait(waiting, num_returns=1, timeout=timeout_s)
        except Exception as error:
            raise ClusterError(f"ray: the cluster is gone: {first_line(error)}: what is done is kept") from error
        return [(self._running.pop(one), self._result(one)) for one in ready]

    def stop(self) -> None:
        """See `Workers.stop`."""
        waiting = list(self._running)
        self._running.clear()
        # A cluster that is gone cannot be told anything.
        with contextlib.suppress(Exception):
            for one in waiting:
                self._ray.cancel(one)
            if waiting:
                _, late = self._ray.wait(waiting, num_returns=len(waiting), timeout=_PATIENCE_S)
                for one in late:
                    self._ray.cancel(one, force=True)
        self._ray.shutdown()

    def _result(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            # Before the call began: what it does itself it answers itself.
            return Died(f"could not begin: {first_line(error.cause or error)}")
        except errors.RayError as error:
            return Died(f"is gone: {type(error).__name__}: {first_line(error)}")


def _require_open(address: str) -> None:
    """Ray tries for minutes to reach what is not there."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"ray: no cluster at {address}: {first_line(error)}: ray start --head") from error


def _demands(ray: Any, device: str, threads: int) -> tuple[dict[str, Any], int]:
    """What each call asks for, and how many calls there is room for."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(one.get("GPU", 0) for one in machines))
    if device not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"device: got {device}, expected auto, cpu or cuda: Ray chooses which GPU")
    if device == "cuda" and gpus == 0:
        raise SettingsError("device: got cuda, but no machine of the cluster has a GPU: expected auto or cpu")
    on_gpu = device != "cpu" and gpus > 0
    fitting = [one for one in machines if one.get("CPU", 0) >= threads and (one.get("GPU", 0) > 0 or not on_gpu)]
    if not fitting:
        most = int(max((one.get("CPU", 0) for one in machines), default=0))
        raise SettingsError(
            f"threads: got {threads}, expected at most {most}, the CPUs of the cluster's largest machine"
        )
    room = sum(int(one["CPU"] // threads) for one in fitting)
    options = {"num_cpus": threads, "num_gpus": int(on_gpu), "scheduling_strategy": "SPREAD"}
    return options, min(room, gpus) if on_gpu else room
