"""How functions are compiled: to fixed types, when their module is imported, kept on disk for the next start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., Any])

BYTES = types.Array(types.uint8, 1, "C")
GIVEN_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
BYTE_ROWS = types.Array(types.uint8, 2, "C")
GIVEN_BYTE_ROWS = types.Array(types.uint8, 2, "C", readonly=True)
FLOATS = types.Array(types.float32, 1, "C")
FLOAT_ROWS = types.Array(types.float32, 2, "C")
VOLUME = types.Array(types.float32, 3, "C")
GIVEN_VOLUME = types.Array(types.float32, 3, "C", readonly=True)
INDICES = types.Array(types.int32, 1, "C")


def compiled(signature: Any, *, fused: bool = False) -> Callable[[_Function], _Function]:
    """Compile for one signature now, or load what was compiled before; it runs without the interpreter's lock.

    Args:
        signature: numba types of the result and of the arguments.
        fused: allow a multiplication and an addition to be rounded once; never where NumPy's bits must come out.
    """

    def decorate(function: _Function) -> _Function:
        made = numba.njit(nogil=True, error_model="numpy", fastmath={"contract"} if fused else False)(function)
        _keep(made)
        made.compile(signature)
        made.disable_compile()  # another type of argument is a mistake, not a reason to compile for a second
        same: _Function = made
        return same

    return decorate


def _keep(dispatcher: Any) -> None:
    """Keep the compiled function on disk, beside the package or in the user's cache, where either can be written."""
    try:
        dispatcher.enable_caching()
    except RuntimeError:
        return
    # Numba asks only whether the function's own file has changed; what it compiled holds the functions called there.
    dispatcher._cache._cache_file._source_stamp = _SOURCES  # noqa: SLF001  there is no public way


_SOURCES = tuple(
    (file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in sorted(Path(__file__).parent.glob("*.py"))
)


def inlined(function: _Function) -> _Function:
    """Compile as a part of the functions that call it."""
    made: _Function = numba.njit(function, inline="always", error_model="numpy")
    return made


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def bits_of(_context: Any, _value: Any) -> Any:
    """The 32 bits of a float32 as an int32."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), build


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def float_of(_context: Any, _bits: Any) -> Any:
    """The float32 of 32 bits."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), build


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def larger(_context: Any, _first: Any, _second: Any) -> Any:
    """The larger of two int32; of positive floats' bits, the larger float's.

    A comparison of floats becomes a masked store here, which costs ten times as much on some processors.
    """

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        kind = ir.FunctionType(word, [word, word])
        return builder.call(builder.module.declare_intrinsic("llvm.smax", [word], kind), arguments)

    return types.int32(types.int32, types.int32), build


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def higher(_context: Any, _first: Any, _second: Any) -> Any:
    """The higher of two float32, neither of them NaN; see `larger`."""
    return types.float32(types.float32, types.float32), _either("llvm.maxnum")


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def lower(_context: Any, _first: Any, _second: Any) -> Any:
    """The lower of two float32, neither of them NaN; see `larger`."""
    return types.float32(types.float32, types.float32), _either("llvm.minnum")


def _either(name: str) -> Callable[..., Any]:
    """One of two floats, as one instruction: ``nnan`` spares what would look for NaN."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 2)
        declared = builder.module.declare_intrinsic(name, [ir.FloatType()], kind)
        return builder.call(declared, arguments, fastmath=("nnan", "nsz"))

    return build


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def multiply_add(_context: Any, _first: Any, _second: Any, _third: Any) -> Any:
    """``first * second + third`` of float32, rounded once where the processor can."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 3)
        return builder.call(builder.module.declare_intrinsic("llvm.fmuladd", [ir.FloatType()], kind), arguments)

    return types.float32(types.float32, types.float32, types.float32), build


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def lerp_lanes(_context: Any, outs: Any, _at: Any, fractions: Any, _from: Any, _lines: Any) -> Any:
    """Two straight lines at `LANES` fractions at once: ``outs[i][at + n] = start_i + slope_i * fractions[from + n]``.

    ``lines`` is (start_0, slope_0, start_1, slope_1). Nothing checks the ends: both outs need room for `LANES` more.
    For the few pixels of a stride cell a loop costs six times as much as these vectors.
    """
    signature = types.void(outs, types.int64, fractions, types.int64, types.UniTuple(types.float32, 4))

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(ir.FloatType(), LANES)
        undefined, first = ir.Constant(lanes, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        every = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)

        def at(kind: Any, array: Any, index: Any) -> Any:
            start = context.make_array(kind)(context, builder, array).data
            return builder.bitcast(builder.gep(start, [index]), ir.PointerType(lanes))

        def repeated(index: int) -> Any:
            one = builder.insert_element(undefined, builder.extract_value(arguments[4], index), first)
            return builder.shuffle_vector(one, undefined, every)

        right = builder.load(at(signature.args[2], arguments[2], arguments[3]), align=4)
        for i in range(2):
            out = at(signature.args[0].dtype, builder.extract_value(arguments[0], i), arguments[1])
            way = builder.fmul(repeated(2 * i + 1), right, flags=("contract",))
            builder.store(builder.fadd(repeated(2 * i), way, flags=("contract",)), out, align=4)
        return context.get_dummy_value()

    return signature, build


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def spread_lanes(_context: Any, outs: Any, _row: Any, _at: Any, _corner: Any) -> Any:
    """Two geometric rows of `LANES`: ``outs[i][row, at + n] = start_i * factor_i**n``.

    ``corner`` is (start_0, factor_0, start_1, factor_1). Nothing checks the ends: both outs need room for `LANES` more.
    """
    signature = types.void(outs, types.int64, types.int64, types.UniTuple(types.float32, 4))

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(ir.FloatType(), LANES)
        undefined, first = ir.Constant(lanes, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        every = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        ones = ir.Constant(lanes, [1.0] * LANES)

        def repeated(index: int) -> Any:
            one = builder.insert_element(undefined, builder.extract_value(arguments[3], index), first)
            return builder.shuffle_vector(one, undefined, every)

        for i in range(2):
            array = context.make_array(signature.args[0].dtype)(
                context, builder, builder.extract_value(arguments[0], i)
            )
            place = builder.add(builder.mul(arguments[1], builder.extract_value(array.shape, 1)), arguments[2])
            out = builder.bitcast(builder.gep(array.data, [place]), ir.PointerType(lanes))
            row, factor, bit = repeated(2 * i), repeated(2 * i + 1), 1
            while bit < LANES:  # the powers of a lane's number are those of its bits
                chosen = [lane + LANES if lane & bit else lane for lane in range(LANES)]
                mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), chosen)
                row = builder.fmul(row, builder.shuffle_vector(ones, factor, mask))
                factor, bit = builder.fmul(factor, factor), bit * 2
            builder.store(row, out, align=4)
        return context.get_dummy_value()

    return signature, build


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def put_word(_context: Any, out: Any, _at: Any, _word: Any) -> Any:
    """Four bytes at once, the lowest first, to ``out[at : at + 4]``, wherever that lies; nothing checks the end."""
    signature = types.void(out, types.int64, types.uint32)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(start, [arguments[1]]), ir.PointerType(ir.IntType(32)))
        builder.store(arguments[2], place, align=1)
        return context.get_dummy_value()

    return signature, build


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def sum_growing(_context: Any, powers: Any, factors: Any, _count: Any, _at: Any, out: Any) -> Any:
    """The largest share of the classes' sum, for `LANES` columns of `ROWS_AT_ONCE` rows, each power growing row by row.

    ``out[r][at + n]`` is the largest of ``powers[k][at + n] * factors[k][at + n]**r`` over their sum, in bytes of which
    255 is 1, rounded half to even; then the powers are those of the row behind. Sums and largest stay in registers:
    kept in memory, as a loop over columns does, they cost six times as much. Nothing checks the ends.
    """
    signature = types.void(powers, factors, types.int64, types.int64, out)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(ir.FloatType(), LANES)
        word, nothing = ir.IntType(64), ir.Constant(lanes, [0.0] * LANES)

        scale, magic = ir.Constant(lanes, [255.0] * LANES), ir.Constant(lanes, [float(MAGIC)] * LANES)
        words, bytes_ = ir.VectorType(ir.IntType(32), LANES), ir.VectorType(ir.IntType(8), LANES)

        def place(index: int, row: Any, kind: Any) -> Any:
            array = context.make_array(signature.args[index])(context, builder, arguments[index])
            width = builder.extract_value(array.shape, 1)
            start = builder.gep(array.data, [builder.add(builder.mul(row, width), arguments[3])])
            return builder.bitcast(start, ir.PointerType(kind))

        before, loop, behind = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(word)
        k.add_incoming(ir.Constant(word, 0), before)
        kept = [builder.phi(lanes) for _ in range(2 * ROWS_AT_ONCE)]
        where = place(0, k, lanes)
        power, factor = builder.load(where, align=4), builder.load(place(1, k, lanes), align=4)
        for total, largest in zip(kept[::2], kept[1::2], strict=True):
            more = builder.fcmp_ordered(">", power, largest)
            for phi, value in ((total, builder.fadd(total, power)), (largest, builder.select(more, power, largest))):
                phi.add_incoming(nothing, before)
                phi.add_incoming(value, loop)
            power = builder.fmul(power, factor)
        builder.store(power, where, align=4)
        following = builder.add(k, ir.Constant(word, 1))
        k.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, arguments[2]), loop, behind)
        builder.position_at_end(behind)
        for row in range(ROWS_AT_ONCE):
            total, largest = (phi.incomings[1][0] for phi in kept[2 * row : 2 * row + 2])
            share = builder.fmul(builder.fdiv(largest, total), scale)
            rounded = builder.trunc(builder.bitcast(builder.fadd(share, magic), words), bytes_)
            builder.store(rounded, place(4, ir.Constant(word, row), bytes_), align=1)
        return context.get_dummy_value()

    return signature, build


ROWS_AT_ONCE = 4
"""Rows whose sums and largest fit into the registers."""
LANES = 8
"""Floats of one vector; where the processor's are shorter it takes two."""
MAGIC = np.float32(12582912.0)
"""1.5 * 2**23: added to a small float32 it rounds it, half to even, into the lowest bits of the sum."""


@inlined
def rounded_byte(value: Any) -> Any:
    """To the nearest whole number, half to even; ``value`` lies in -0.5..255.5."""
    return np.uint8(bits_of(value + MAGIC) & 255)
