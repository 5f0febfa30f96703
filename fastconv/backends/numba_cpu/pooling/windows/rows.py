"""These functions compute rows of windows side by side, one window in each lane, and write their results."""

from __future__ import annotations

from functools import reduce
from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import cgutils, intrinsic, types
from fastconv.backends.numba_cpu.pooling.windows.memory import (
    load,
    load_spaced,
    load_spaced_visible,
    load_visible,
    spaced,
    write_visible,
)
from fastconv.backends.numba_cpu.pooling.windows.state import (
    AVERAGES,
    PLACES,
    merged,
    pack,
    ramp,
    spread,
    state_of,
    unpack,
    widened,
)
from fastconv.backends.numba_cpu.simd import broadcast_value

_I32, _I64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def row_of_windows(typing, w, before, row, column, width, count, step, apart, starts, origin):
    """Return the states of one row of windows that lie side by side.

    before: for sums, the state to which the row's pixels are added, one after another; otherwise unused. row: the
    address of the row in an image ``width`` wide. column: the first window's first column. count, step, apart: columns
    of a window, from one window to the next, and from one column of a window to the next; the first two may be known to
    ``w`` already. starts: the address of a table with each window's first column in the image, as places. origin: the
    place of the row's first pixel in the plane.
    """

    def generate(context, builder, signature, arguments):
        _, before, row, column, width, count, step, apart, starts, origin = arguments
        sums = [before] if w.simd.sums else []

        def states(inside: bool) -> list[Any]:
            return _row(builder, w, inside, sums, row, column, width, count, step, apart)

        if w.simd.masked:
            state = states(False)
        else:
            reach = builder.mul(ir.Constant(_I64, w.simd.lanes - 1), step)
            reach = builder.add(reach, ir.Constant(_I64, max(1, w.simd.step)))
            reach = builder.add(reach, builder.mul(builder.sub(count, ir.Constant(_I64, 1)), apart))
            beyond = builder.icmp_signed(">", builder.add(column, reach), width)
            at_side = builder.or_(beyond, builder.icmp_signed("<", column, ir.Constant(_I64, 0)))
            state = _either(builder, at_side, lambda: states(False), lambda: states(True))
        if w.simd.kind == PLACES:
            # A window of minus infinities keeps its first column, which may be outside the image.
            lane_columns = builder.add(spread(builder, w, column), builder.mul(ramp(w), spread(builder, w, step)))
            found = builder.add(state[1], lane_columns)
            first_inside = builder.load(builder.inttoptr(starts, found.type.as_pointer()))
            first_inside.align = w.simd.itemsize
            found = builder.select(builder.icmp_signed("<", found, first_inside), first_inside, found)
            state[1] = builder.add(found, spread(builder, w, origin))
        return pack(context, builder, w, state)

    return state_of(w)(w, state_of(w), *[types.intp] * 8), generate


def _either(builder: Any, condition: Any, yes: Any, no: Any) -> list[Any]:
    """Emit a branch; return the values that ``yes`` or ``no`` emits."""
    with builder.if_else(condition) as (then, otherwise):
        with then:
            first = yes()
            after_first = builder.block
        with otherwise:
            second = no()
            after_second = builder.block
    results = []
    for a, b in zip(first, second, strict=True):
        result = builder.phi(a.type)
        result.add_incoming(a, after_first)
        result.add_incoming(b, after_second)
        results.append(result)
    return results


def _row(
    builder: Any,
    w: Any,
    inside: bool,
    sums: list[Any],
    row: Any,
    column: Any,
    width: Any,
    count: Any,
    step: Any,
    apart: Any,
) -> list[Any]:
    """Return the states for `row_of_windows`, whose places are still offsets from each window's first column."""

    def pixels(offset: Any) -> list[Any]:
        at = builder.add(column, offset)
        if w.simd.step == 0 and inside:
            return [load_spaced(builder, w, row, at, step)]
        if w.simd.step == 0:
            return [load_spaced_visible(builder, w, row, at, step, width)]
        here = [builder.add(at, ir.Constant(_I64, w.simd.lanes * vector)) for vector in range(w.simd.step)]
        loaded = [load(builder, w, row, at) if inside else load_visible(builder, w, row, at, width) for at in here]
        # If windows are n pixels apart, n vectors hold n columns of each window.
        return [spaced(builder, w, loaded, first) for first in range(w.simd.step)]

    def parts(vector: Any, offset: Any) -> list[Any]:
        return [vector, spread(builder, w, offset)] if w.simd.kind == PLACES else [vector]

    def number(value: int) -> Any:
        return ir.Constant(_I64, value)

    if w.simd.columns:
        found = []
        for at in range(0, w.simd.columns, max(1, w.simd.step)):
            vectors = pixels(number(at))[: w.simd.columns - at]
            found += [parts(vector, number(offset)) for offset, vector in enumerate(vectors, at)]
        return reduce(lambda before, after: merged(builder, w, before, after), [sums, *found] if sums else found)
    first = parts(pixels(number(0))[0], number(0))
    first = merged(builder, w, sums, first) if sums else first
    variables = [cgutils.alloca_once_value(builder, part) for part in first]
    with cgutils.for_range_slice(builder, number(1), count, number(1), _I64) as (s, _):
        offset = builder.mul(s, apart)
        before = [builder.load(variable) for variable in variables]
        after = merged(builder, w, before, parts(pixels(offset)[0], offset))
        for variable, part in zip(variables, after, strict=True):
            builder.store(part, variable)
    return [builder.load(variable) for variable in variables]


@intrinsic
def ask(typing, w, address):
    """Prefetch the ``w.ahead`` bytes of memory from ``address`` on."""

    def generate(context, builder, signature, arguments):
        byte = ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
        prefetch = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
        for line in range(w.simd.ahead // 64):
            pointer = builder.inttoptr(builder.add(arguments[1], ir.Constant(_I64, 64 * line)), byte)
            builder.call(prefetch, [pointer, *(ir.Constant(_I32, flag) for flag in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(w, types.intp), generate


@intrinsic
def deliver(typing, w, state, out, indices, q, count, origin, divisors):
    """Write the results of windows from q on, up to window ``count``.

    out, indices: addresses of the results of a row of windows. origin: a place in the plane that is at most that of any
    window. divisors: the address of as many numbers as there are lanes.
    """

    def generate(context, builder, signature, arguments):
        _, state, out, indices, q, count, origin, divisors = arguments
        numbers, *places = unpack(builder, w, state)
        if w.simd.kind == AVERAGES:
            numbers = builder.fdiv(numbers, load(builder, w, divisors, ir.Constant(_I64, 0)))
        write_visible(builder, w, numbers, out, q, count)
        if places:
            # Places may have wrapped around; their distance from the origin has not.
            distance = widened(builder, builder.sub(places[0], spread(builder, w, origin)))
            index = builder.add(distance, broadcast_value(builder, origin, w.simd.lanes))
            write_visible(builder, w, index, indices, q, count)
        return context.get_dummy_value()

    return types.void(w, state_of(w), *[types.intp] * 6), generate
