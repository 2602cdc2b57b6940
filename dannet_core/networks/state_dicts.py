"""State dicts as training programs save them: found inside their wrappers, without the prefixes of theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeGuard

import torch
from torch import Tensor

from dannet_core.errors import ModelFileError

State = Mapping[str, Tensor]

_HALVES: Final = (torch.float16, torch.bfloat16)
_COUNTER: Final = "num_batches_tracked"
_MAX_DEPTH: Final = 4


def unwrapped(content: object, expected: State, path: str | Path) -> State:
    """The one state dict in a checkpoint that is meant for a network.

    Args:
        content: what the file holds: a state dict, or dicts around it (``state_dict``, ``model``, ``net``, ...).
        expected: names and shapes of the network's own, as the file should call them.
        path: named in errors.

    Returns:
        Tensors by name, without common prefixes; may still not fit in single keys.

    Raises:
        ModelFileError: no state dict, or several that fit the network.
    """
    if not isinstance(content, Mapping) or not content:
        raise ModelFileError(f"{path}: got a {type(content).__name__}, expected a state dict: tensors by name")
    found = {place: _without_prefix(state, expected) for place, state in _state_dicts(content)}
    if not found:
        raise ModelFileError(f"{path}: {_no_state_dict(content)}")
    fitting = [place for place, state in found.items() if _fits(state, expected)]
    if len(fitting) > 1:
        raise ModelFileError(
            f"{path}: got {len(fitting)} state dicts that fit, {' and '.join(map(repr, fitting))}: save the one you "
            f"mean alone, e.g. torch.save(torch.load(FILE){_indexing(fitting[0])}, NEW)"
        )
    best = fitting[0] if fitting else max(found, key=lambda place: len(found[place].keys() & expected.keys()))
    return dict(found[best])


def as_expected(state: State, expected: State) -> dict[str, Tensor]:
    """Half precision as the single precision that a network has, and the counters that old checkpoints lack as 0."""
    result = {
        key: tensor.float() if tensor.dtype in _HALVES and _wants_single(key, expected) else tensor
        for key, tensor in state.items()
    }
    for key, tensor in expected.items():
        if key.endswith(_COUNTER) and key not in result:
            result[key] = torch.zeros(tensor.shape, dtype=tensor.dtype)
    return result


def _wants_single(key: str, expected: State) -> bool:
    return key in expected and expected[key].dtype == torch.float32


def _state_dicts(content: Mapping[object, object], place: str = "", depth: int = 0) -> Iterator[tuple[str, State]]:
    """State dicts in nested dicts, each with the keys that lead to it."""
    tensors = {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, Tensor) and value.layout == torch.strided
    }
    if content and len(tensors) == len(content):
        yield place, tensors
        return
    for key, value in content.items():
        if isinstance(value, Mapping) and isinstance(key, str) and depth < _MAX_DEPTH:
            yield from _state_dicts(value, f"{place}.{key}" if place else key, depth + 1)


def _is_weight(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.layout == torch.strided


def _without_prefix(state: State, expected: State) -> State:
    """Of the names with and without prefixes that all keys share, those that most of the expected ones have.

    `DataParallel`, `torch.compile` and wrapping modules put ``module.``, ``_orig_mod.`` or a name of their own there.
    """
    variants, latest = [state], state
    while True:
        firsts = {key.partition(".")[:2] for key in latest}
        first, dot = next(iter(firsts), ("", ""))
        if len(firsts) != 1 or not dot:
            return max(variants, key=lambda one: len(one.keys() & expected.keys()))
        latest = {key.removeprefix(first + dot): tensor for key, tensor in latest.items()}
        variants.append(latest)


def _fits(state: State, expected: State) -> bool:
    needed = {key for key in expected if not key.endswith(_COUNTER)}
    return needed <= state.keys() <= expected.keys() and all(state[key].shape == expected[key].shape for key in state)


def _no_state_dict(content: Mapping[object, object]) -> str:
    """Why nothing was found; where tensors and other things are mixed, the first of the others."""
    wrong = next((key for key, value in content.items() if not (isinstance(key, str) and _is_weight(value))), "")
    what = f"entry {wrong!r} is a {type(content[wrong]).__name__}, expected tensors by name" if content else ""
    if any(_is_weight(value) for value in content.values()):
        return f"{what}: save the tensors alone, torch.save(model.state_dict(), FILE)"
    return f"{what} there or in a dict inside, such as 'state_dict' or 'model'"


def _indexing(place: str) -> str:
    return "".join(f"[{key!r}]" for key in place.split("."))
