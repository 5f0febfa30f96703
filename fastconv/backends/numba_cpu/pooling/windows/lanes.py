"""One window fills a vector's lanes: pixels side by side in a row are merged lane by lane, at the end across lanes.

In each lane pixels are merged in row-major order, but not across lanes: there the lowest place wins among equal
elements and the highest among NaN. Places count from the window's first pixel.

As many windows as there are lanes are finished together. Of the states of two windows, the even and the odd lanes are
merged: the result is one vector with both windows side by side, half as wide. After log2(lanes) rounds each lane holds
one window, in order, at three shuffles and additions a window instead of ten.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import cgutils, intrinsic, types
from fastconv.backends.numba_cpu.pooling.windows.memory import load, load_visible, spaced, write_visible
from fastconv.backends.numba_cpu.pooling.windows.state import (
    AVERAGES,
    PLACES,
    outside,
    pack,
    place_type,
    ramp,
    spread,
    state_of,
    unpack,
    widened,
)
from fastconv.backends.numba_cpu.simd import vector_of

_I64 = ir.IntType(64)


@intrinsic
def no_pixels(typing, w):
    """Return the state before any pixel; if all pixels are minus infinity, the place stays that of the first."""

    def generate(context, builder, signature, arguments):
        zero = ir.Constant(ir.VectorType(place_type(w), w.simd.lanes), None)
        return pack(context, builder, w, [outside(w), zero])

    return state_of(w)(w), generate


@intrinsic
def pixels(typing, w, row, column, end, origin):
    """Return the state of a vector of pixels from ``column`` on in the row at address ``row``.

    end: the column after the last pixel, or None if the vector is whole. origin: the place of the row's column 0.
    """

    def generate(context, builder, signature, arguments):
        _, row, column, end, origin = arguments
        whole = isinstance(signature.args[3], types.NoneType)
        numbers = load(builder, w, row, column) if whole else load_visible(builder, w, row, column, end)
        places = builder.add(ramp(w), spread(builder, w, builder.add(origin, column)))
        return pack(context, builder, w, [numbers, places])

    return state_of(w)(w, types.intp, types.intp, end, types.intp), generate


@intrinsic
def desk(typing, w):
    """Return the address of a buffer for as many finished windows as there are lanes, on the function's stack."""

    def generate(context, builder, signature, arguments):
        return builder.ptrtoint(cgutils.alloca_once(builder, vector_of(w).llvm, 2 * w.simd.lanes + 3), _I64)

    return types.intp(w), generate


def _on_desk(builder: Any, w: Any, desk: Any, vector: int, scalar: Any, index: Any) -> Any:
    """Return a pointer to number ``index`` behind ``vector`` vectors of the buffer."""
    base = builder.add(desk, ir.Constant(_I64, vector * w.simd.lanes * w.simd.itemsize))
    return builder.gep(builder.inttoptr(base, scalar.as_pointer()), [index])


@intrinsic
def put_on_desk(typing, w, desk, k, state, divisor, origin):
    """Put window k into the buffer, with the divisor at address ``divisor``, or with its first pixel's place."""

    def generate(context, builder, signature, arguments):
        _, desk, k, state, divisor, origin = arguments
        lanes = w.simd.lanes
        for part, values in enumerate(unpack(builder, w, state)):
            first = builder.mul(k, ir.Constant(_I64, lanes))
            pointer = _on_desk(builder, w, desk, part * lanes, values.type.element, first)
            builder.store(values, builder.bitcast(pointer, values.type.as_pointer())).align = w.simd.itemsize
        if w.simd.kind == AVERAGES:
            number = vector_of(w).llvm.element
            value = builder.load(builder.inttoptr(divisor, number.as_pointer()))
            builder.store(value, _on_desk(builder, w, desk, 2 * lanes, number, k))
        if w.simd.kind == PLACES:
            builder.store(origin, _on_desk(builder, w, desk, 2 * lanes, _I64, k))
        return context.get_dummy_value()

    return types.void(w, types.intp, types.intp, state_of(w), types.intp, types.intp), generate


def _merged_across(builder: Any, w: Any, a: list[Any], b: list[Any]) -> list[Any]:
    """Return the merged parts, numbers and places, of two states of which neither comes first in row-major order."""
    if w.simd.kind == AVERAGES:
        return [builder.fadd(a[0], b[0])]
    above = builder.fcmp_ordered(">", b[0], a[0])
    first = builder.and_(builder.fcmp_ordered("==", b[0], a[0]), builder.icmp_unsigned("<", b[1], a[1]))
    last = builder.or_(builder.fcmp_ordered("ord", a[0], a[0]), builder.icmp_unsigned(">", b[1], a[1]))
    last_nan = builder.and_(builder.fcmp_unordered("uno", b[0], b[0]), last)
    taken = builder.or_(builder.or_(above, first), last_nan)
    return [builder.select(taken, other, part) for other, part in zip(b, a, strict=True)]


@intrinsic
def deliver_desk(typing, w, desk, out, indices, count):
    """Write the results of the buffer's ``count`` windows to ``out``, and their indices unless that address is 0."""

    def generate(context, builder, signature, arguments):
        _, desk, out, indices, count = arguments
        lanes, zero = w.simd.lanes, ir.Constant(_I64, 0)

        def read(vector: int, kind: Any) -> Any:
            pointer = _on_desk(builder, w, desk, vector, kind.element, zero)
            value = builder.load(builder.bitcast(pointer, kind.as_pointer()))
            value.align = w.simd.itemsize
            return value

        numbers, places = vector_of(w).llvm, ir.VectorType(place_type(w), lanes)
        kinds = [numbers, places] if w.simd.kind == PLACES else [numbers]
        windows = [[read(part * lanes + k, kind) for part, kind in enumerate(kinds)] for k in range(lanes)]
        while len(windows) > 1:
            halves = []
            for a, b in zip(windows[::2], windows[1::2], strict=True):
                even, odd = ([spaced(builder, w, [x, y], i) for x, y in zip(a, b, strict=True)] for i in (0, 1))
                halves.append(_merged_across(builder, w, even, odd))
            windows = halves
        (result,) = windows
        if w.simd.kind == AVERAGES:
            result = [builder.fdiv(result[0], read(2 * lanes, numbers))]
        write_visible(builder, w, result[0], out, zero, count)
        if w.simd.kind == PLACES:
            with builder.if_then(builder.icmp_signed("!=", indices, zero)):
                index = builder.add(widened(builder, result[1]), read(2 * lanes, ir.VectorType(_I64, lanes)))
                write_visible(builder, w, index, indices, zero, count)
        return context.get_dummy_value()

    return types.void(w, *[types.intp] * 4), generate
