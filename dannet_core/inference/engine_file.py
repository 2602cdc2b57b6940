"""An engine and its side file: what `X.engine` was built from, with what, and for which GPU, in `X.engine.json`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from dannet_core.atomic_files import write_whole
from dannet_core.errors import ModelFileError
from dannet_core.metadata import KEY_PREFIX, ModelMetadata

FORMAT_VERSION: Final = 1
FLAVOURS: Final = ("tensorrt", "tensorrt_rtx")
PORTABLE_FROM: Final = (8, 0)
"""Without targets, TensorRT for RTX builds for those of its compute capabilities that are not older than this one."""
MAX_SIDE_FILE_BYTES: Final = 1 << 20
_DIGITS: Final = frozenset("0123456789abcdef")


class Binding(NamedTuple):
    """One input or output of an engine.

    Attributes:
        shape: without free dimensions.
        dtype: NumPy's name of it, e.g. ``float32``.
    """

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class EngineInfo:
    """What `X.engine.json` says about `X.engine`.

    Attributes:
        flavour: ``tensorrt`` or ``tensorrt_rtx``.
        flavour_version: its version, e.g. ``10.3.0``; a plan runs with exactly this one.
        gpu: name of the GPU it was built on; None where it does not matter (TensorRT for RTX).
        compute_capability: of that GPU, e.g. ``9.0``; None likewise.
        targets: compute capabilities that TensorRT for RTX was told to build for; empty = those of its own from 8.0 on.
        workspace_mib: memory that layers were allowed to use, in MiB; 0 = all there is.
        precision: ``fp32``, ``fp16`` or ``int8``, as in the graph.
        onnx_sha256: of the `.onnx` file it was built from.
        plan_sha256: of the `.engine` file.
        plan_bytes: size of the `.engine` file.
        inputs: by name.
        outputs: by name.
        metadata: the model's, from the `.onnx` file.
    """

    flavour: str
    flavour_version: str
    gpu: str | None
    compute_capability: str | None
    targets: tuple[str, ...]
    workspace_mib: int
    precision: str
    onnx_sha256: str
    plan_sha256: str
    plan_bytes: int
    inputs: dict[str, Binding]
    outputs: dict[str, Binding]
    metadata: ModelMetadata

    def replace(self, **changes: Any) -> EngineInfo:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """The side file's text."""
        values = dataclasses.asdict(self)
        for ends in ("inputs", "outputs"):
            values[ends] = {name: binding._asdict() for name, binding in getattr(self, ends).items()}
        return json.dumps({"format_version": FORMAT_VERSION, **values}, indent=2) + "\n"


@dataclass(frozen=True)
class Running:
    """What an engine is about to run with.

    Attributes:
        flavour: ``tensorrt`` or ``tensorrt_rtx``.
        flavour_version: the installed version.
        gpu: the GPU's name, as its driver gives it; None without one.
        compute_capability: e.g. ``8.7``; None without a GPU.
        known: compute capabilities that the flavour has kernels for, oldest first; empty for TensorRT, which builds on
            the GPU itself.
    """

    flavour: str
    flavour_version: str
    gpu: str | None
    compute_capability: str | None
    known: tuple[str, ...] = ()

    @property
    def is_unknown_gpu(self) -> bool:
        """Whether TensorRT for RTX has no kernels for the GPU that is here, whatever the targets."""
        return self.flavour == "tensorrt_rtx" and self.gpu is not None and self.compute_capability not in self.known


class Difference(NamedTuple):
    """A field in which an engine does not fit.

    Attributes:
        field: name of the side file's field.
        engine: its value in the side file.
        here: what was found, or what is wanted.
    """

    field: str
    engine: object
    here: object

    def __str__(self) -> str:
        """One phrase: the field and both values."""
        return f"{self.field}: the engine has {_shown(self.engine)}, here it is {_shown(self.here)}"


def side_file(engine_path: str | Path) -> Path:
    """Name of the side file: ``X.engine.json`` of ``X.engine``."""
    path = Path(engine_path)
    return path.with_name(path.name + ".json")


def write_engine(path: str | Path, plan: bytes, info: EngineInfo) -> EngineInfo:
    """Write `X.engine`, then `X.engine.json`; each appears whole or not at all.

    Who reads between the two finds a hash that differs, never a plan that passes for another.

    Args:
        path: ends in ``.engine``.
        plan: the serialised engine.
        info: its ``plan_sha256`` and ``plan_bytes`` are filled in here.

    Returns:
        The record as written.

    Raises:
        OutputError: the folder is missing or cannot be written to.
    """
    written = info.replace(plan_sha256=hashlib.sha256(plan).hexdigest(), plan_bytes=len(plan))
    write_whole(path, plan)
    write_whole(side_file(path), written.to_json().encode())
    return written


def read_engine_info(engine_path: str | Path) -> EngineInfo:
    """Read and check the side file.

    Raises:
        ModelFileError: it is missing, damaged, or was written by a newer version.
    """
    path = side_file(engine_path)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SIDE_FILE_BYTES + 1)
    except OSError as error:
        raise ModelFileError(
            f"{path}: cannot read the engine's side file: {error.strerror}: build the engine with `dannet build_engine`"
        ) from error
    if len(text) > MAX_SIDE_FILE_BYTES:
        raise ModelFileError(f"{path}: larger than {MAX_SIDE_FILE_BYTES} bytes: not the side file of an engine")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: damaged side file ({error}): build the engine again") from error
    return _checked(values, str(path))


def read_plan(engine_path: str | Path, info: EngineInfo) -> bytes:
    """Read the engine itself and compare it with what its side file says.

    Raises:
        ModelFileError: it is missing, truncated, or another one; the message names the field.
    """
    try:
        plan = Path(engine_path).read_bytes()
    except OSError as error:
        raise ModelFileError(f"{engine_path}: cannot read: {error.strerror}: build the engine again") from error
    found = (len(plan), hashlib.sha256(plan).hexdigest())
    for name, here in zip(("plan_bytes", "plan_sha256"), found, strict=True):
        if getattr(info, name) != here:
            difference = Difference(name, getattr(info, name), here)
            raise ModelFileError(f"{engine_path}: damaged or exchanged: {difference}: build the engine again")
    return plan


def check_engine(info: EngineInfo, running: Running) -> list[Difference]:
    """Fields that keep an engine from running here; empty when it fits.

    A TensorRT plan belongs to one version and one kind of GPU; one of TensorRT for RTX to one version and to the
    compute capabilities it was built for.
    """
    names = ["flavour", "flavour_version"]
    if info.flavour == "tensorrt":
        names += ["gpu", "compute_capability"]
    found = [
        Difference(name, getattr(info, name), getattr(running, name))
        for name in names
        if getattr(info, name) != getattr(running, name)
    ]
    if info.flavour == "tensorrt_rtx":
        targets = info.targets or portable_targets(running.known)
        if running.compute_capability not in targets:
            found.append(Difference("targets", targets, running.compute_capability))
    return found


def portable_targets(known: Sequence[str]) -> tuple[str, ...]:
    """Those of a flavour's compute capabilities that an engine without targets runs on."""
    return tuple(one for one in known if tuple(map(int, one.split("."))) >= PORTABLE_FROM)


def describe(differences: Sequence[Difference]) -> str:
    """Differences in one line."""
    return "; ".join(map(str, differences))


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else repr(value)


def _checked(values: Any, path: str) -> EngineInfo:
    if not isinstance(values, dict) or "flavour" not in values:
        raise ModelFileError(f"{path}: not the side file of an engine: build the engine with `dannet build_engine`")
    version = values.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise ModelFileError(f"{path}: got format version {version!r}, expected {FORMAT_VERSION}: update dannet_ros")
    names = {field.name for field in dataclasses.fields(EngineInfo)}
    for name in sorted(names ^ set(values)):
        what = "missing" if name in names else "unknown"
        raise ModelFileError(f"{path}: {what} field '{name}': build the engine again")
    for name, (accepts, expected) in _EXPECTED.items():
        if not accepts(values[name]):
            raise ModelFileError(f"{path}: field '{name}': got {values[name]!r}, expected {expected}")
    return EngineInfo(
        **values
        | {
            "targets": tuple(values["targets"]),
            "inputs": _bindings(values["inputs"]),
            "outputs": _bindings(values["outputs"]),
            "metadata": _metadata(values["metadata"], path),
        }
    )


def _bindings(values: Mapping[str, Any]) -> dict[str, Binding]:
    return {name: Binding(tuple(value["shape"]), value["dtype"]) for name, value in values.items()}


def _metadata(values: Mapping[str, Any], path: str) -> ModelMetadata:
    return ModelMetadata.from_strings({KEY_PREFIX + name: json.dumps(value) for name, value in values.items()}, path)


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_string_or_null(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == hashlib.sha256().digest_size * 2 and _DIGITS.issuperset(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_capability(value: Any) -> bool:
    return isinstance(value, str) and [part.isdecimal() for part in value.split(".")] == [True, True]


def _are_bindings(value: Any) -> bool:
    return isinstance(value, dict) and len(value) > 0 and all(map(_is_binding, value.values()))


def _is_binding(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"shape", "dtype"}
        and isinstance(value["dtype"], str)
        and isinstance(value["shape"], list)
        and all(type(side) is int and side > 0 for side in value["shape"])
    )


_HASH: Final = (_is_hash, "64 hexadecimal digits")
_COUNT: Final = (_is_count, "an integer of at least 0")
_BINDINGS: Final = (_are_bindings, "an object of names with shape and dtype")
_EXPECTED: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "flavour": (lambda value: value in FLAVOURS, f"one of {', '.join(FLAVOURS)}"),
    "flavour_version": (_is_string, "a string"),
    "gpu": (_is_string_or_null, "a string or null"),
    "compute_capability": (lambda value: value is None or _is_capability(value), "null or such as '8.7'"),
    "targets": (
        lambda value: isinstance(value, list) and all(map(_is_capability, value)),
        "a list of compute capabilities such as '8.6'",
    ),
    "workspace_mib": _COUNT,
    "precision": (_is_string, "a string"),
    "onnx_sha256": _HASH,
    "plan_sha256": _HASH,
    "plan_bytes": _COUNT,
    "inputs": _BINDINGS,
    "outputs": _BINDINGS,
    "metadata": (lambda value: isinstance(value, dict), "an object"),
}
