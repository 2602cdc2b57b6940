"""Compiled OpenVINO graphs, kept for the next start; an entry that is not exactly what was written is made anew."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

LOG: Final = logging.getLogger("dannet_core.inference")
ENTRIES: Final = 8
"""Kept; the least recently used go first."""
_FORMAT: Final = 1
_SUFFIX: Final = ".ovblob"
_DIGEST_BYTES: Final = 32
_LENGTH_BYTES: Final = 8
_EXTERNAL_DATA: Final = b"\x0a\x08location\x12"
"""How a tensor says, in protobuf, that its values lie in another file."""


@dataclass(frozen=True)
class CacheEntry:
    """What was known of a graph when it was compiled.

    Attributes:
        properties: its metadata.
        guarded: whether it has the output `GUARD_NAME`.
        remark: see `OpenVinoBackend`.
        extra: options beside those of the key.
    """

    properties: dict[str, str]
    guarded: bool
    remark: str
    extra: dict[str, Any]


class Found(NamedTuple):
    """A compiled graph from the cache, and its entry."""

    compiled: Any
    entry: CacheEntry


class ModelCache:
    """Files named after a hash of the model's bytes and of everything that compiling depends on.

    Reading and writing never fail: what does not work is logged, and the graph compiled.
    """

    def __init__(self, ov: Any, core: Any, device: str) -> None:
        """Look after one device.

        Args:
            ov: the module `openvino`.
            core: an `openvino.Core`.
            device: in OpenVINO's words.
        """
        self._core, self._device = core, device
        self._fixed = [
            _FORMAT,
            ov.get_version(),
            device,
            str(core.get_property(device, "FULL_DEVICE_NAME")),
            [str(one) for one in core.get_property(device, "OPTIMIZATION_CAPABILITIES")],
            _cpu_flags(),
        ]
        self.folder = cache_folder()

    def key(self, model: bytes, config: dict[str, Any]) -> str | None:
        """The entry's name; None for a model that is not whole in its file, or a device that gives nothing to keep."""
        if _EXTERNAL_DATA in model or "EXPORT_IMPORT" not in self._fixed[4]:
            return None
        described = json.dumps([*self._fixed, {name: str(value) for name, value in sorted(config.items())}])
        return hashlib.sha256(hashlib.sha256(model).digest() + described.encode()).hexdigest()

    def load(self, key: str, config: dict[str, Any]) -> Found | None:
        """What was stored under that key, if it is there and whole."""
        path = self.folder / f"{key}{_SUFFIX}"
        try:
            data = path.read_bytes()
        except OSError:
            return None
        try:
            if hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
                raise ValueError("it was changed since it was written")  # noqa: TRY301  # one place says what is done
            start = _DIGEST_BYTES + _LENGTH_BYTES
            length = int.from_bytes(data[_DIGEST_BYTES:start], "little")
            entry = CacheEntry(**json.loads(data[start : start + length]))
            compiled = self._core.import_model(data[start + length :], self._device, config | entry.extra)
        except Exception as error:  # noqa: BLE001  # OpenVINO raises RuntimeError and others, and a cache is no reason to fail
            LOG.warning("%s: not usable, compiling anew: %s", path, error)
            return None
        with suppress(OSError):
            os.utime(path)
        return Found(compiled, entry)

    def store(self, key: str, compiled: Any, entry: CacheEntry) -> None:
        """Keep a compiled graph, as a whole file or not at all."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            described = json.dumps(asdict(entry)).encode()
            rest = len(described).to_bytes(_LENGTH_BYTES, "little") + described + compiled.export_model().getvalue()
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".partial", delete=False) as file:
                try:
                    file.write(hashlib.sha256(rest).digest() + rest)
                    file.close()
                    Path(file.name).replace(self.folder / f"{key}{_SUFFIX}")
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
            self._prune()
        except Exception as error:  # noqa: BLE001  # see load
            LOG.info("%s: the compiled model is not kept, starts stay slower: %s", self.folder, error)

    def _prune(self) -> None:
        entries = sorted(self.folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in entries[ENTRIES:]:
            path.unlink(missing_ok=True)


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/dannet/openvino``; below ``~/.cache`` where that is not set."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification has relative ones ignored.
    root = Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()
    return root / "dannet" / "openvino"


def _cpu_flags() -> str:
    """What instructions the processor has: its name does not tell on every machine."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return ""
