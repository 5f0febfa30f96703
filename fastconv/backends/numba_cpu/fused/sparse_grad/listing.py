"""This file lists the argmax pixels of a channel whose gradient isn't zero: their gradients, and where patches begin.

Where a ReLU follows, the gradient of windows whose result is 0 becomes 0 on the way. All gradients are also added up,
for the bias gradient. Neither takes a pass of its own over the gradient.

A pixel's *place* is where its patch begins, in elements from the block's first patch. Windows have 2 x 2 pixels, so
pooling's index is 0, 1, J or J + 1 more than that of the window's first pixel, for rows of J pixels, and

    place  =  place of the window's first pixel  +  added * places a column  (+ a correction in the lower row)

AVX-512 does this for the windows of a vector, and its compress instructions write those of the list side by side: 20
cycles for 16 windows. Elsewhere windows are listed one by one without branches, at 4 to 5 cycles each.
"""

from __future__ import annotations

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from fastconv.backends.compiler import cgutils, inner, intrinsic, types
from fastconv.backends.numba_cpu.simd import (
    Simd,
    add,
    broadcast_value,
    load,
    load_integer,
    load_scalar,
    load_vector,
    store,
    store_scalar,
    store_vector,
    vector_of,
    zero,
    zeros,
)
from fastconv.backends.numba_cpu.simd.instruction_set import AVX512

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def lists_vectors(simd: Simd) -> bool:
    """Return whether the windows of a whole vector are listed at once.

    The instruction set has to have compress instructions, and LLVM a name for them: 20 to 22 do.
    """
    return simd.instructions == AVX512 and 20 <= llvm.llvm_version_info[0] <= 22


def list_bytes(simd: Simd, pixels: int) -> int:
    """Return the size of the list of ``pixels`` argmax pixels, their gradients and places, in bytes."""
    return -(-pixels * simd.itemsize // 64) * 64 + -(-pixels * 4 // 64) * 64


def windows(places: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return the first pixel of each window of a block, and its place, as two rows of 32-bit integers.

    Args:
        places: the place of each pixel of the block.
        rows, columns: rows of windows in the block, and pixels in a row.
    """
    first = (2 * columns * np.arange(rows)[:, None] + 2 * np.arange(columns // 2)).reshape(-1)
    return np.array([first, places[first]], np.int32)


@inner
def places_of(simd, args, numbers):
    """Return the address of the places of the list whose gradients are at ``numbers``."""
    return numbers + (args.block_rows * (args.J // 2) * simd.itemsize + 63) // 64 * 64


@inner
def list_step(simd, args):
    """Return the bytes from one list to the next: `list_bytes` of a block's windows."""
    return places_of(simd, args, 0) + (args.block_rows * (args.J // 2) * 4 + 63) // 64 * 64


@inner
def list_argmax(simd, args, first, count, before, numbers, sums):
    """List the argmax pixels of ``count`` windows whose gradient isn't zero; return how many they are.

    Args:
        simd: the type of the numbers.
        args: the task's `ArgmaxArguments`.
        first: the first of the windows, counted in the whole gradient.
        count: windows, which begin at a row of them, at most a block's.
        before: the index of their first pixel.
        numbers: address of the list to write, see `places_of`.
        sums: address of a vector to whose lanes the sums of the gradients are added.
    """
    size, J, table, places = simd.itemsize, args.J, args.places, places_of(simd, args, numbers)
    gradient, indices = args.grad + size * first, args.indices + 8 * first
    results = args.results + size * first if args.results else 0
    right = load_integer(table, 1)
    lower = load_integer(table, J) - J * right
    given, steps = (gradient, results, indices), (before, right, lower)
    windows = args.windows, args.windows + 4 * args.block_rows * (J // 2)
    found, whole = 0, count // simd.lanes * simd.lanes * _by_vectors(simd)
    sums_before = load(simd, sums, 0)
    store(simd, sums, 0, zeros(simd))
    for u in range(0, whole, simd.lanes):
        found += _list_vector(simd, given, u, steps, windows, places, numbers, found, sums)
    total = load_scalar(simd, sums, 0)
    for u in range(whole, count):
        value = load_scalar(simd, gradient, u)
        if results != 0 and load_scalar(simd, results, u) <= zero(simd):
            value = zero(simd)
        total += value
        _store_short(places, found, load_integer(table, load_integer(indices, u) - before))
        store_scalar(simd, numbers, found, value)
        found += value != zero(simd)
    store_scalar(simd, sums, 0, total)
    store(simd, sums, 0, add(simd, sums_before, load(simd, sums, 0)))
    return found


@intrinsic
def _by_vectors(typing, simd):
    """Return 1 where `lists_vectors`, else 0."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(_I64, int(lists_vectors(simd.simd)))

    return types.intp(simd), generate


@intrinsic
def _store_short(typing, base, index, value):
    """Write ``value`` to 32-bit integer ``index`` of the array at ``base``."""

    def generate(context, builder, signature, arguments):
        base, index, value = arguments
        builder.store(builder.trunc(value, _I32), builder.gep(builder.inttoptr(base, _I32.as_pointer()), [index]))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@intrinsic
def _list_vector(typing, simd, given, u, steps, windows, places, numbers, found, sums):
    """List a vector of windows from window ``u`` on, after ``found`` others; return how many were added.

    ``given`` are the addresses of gradients, results and indices, and ``windows`` those of the first pixels and of
    their places. ``steps`` are the index of the block's first pixel, how much further the place of the next pixel to
    the right is, and what a pixel of the lower row adds to that.
    """

    def generate(context, builder, signature, arguments):
        _, given, u, steps, windows, places, numbers, found, sums = arguments
        (gradient, results, indices), steps = (cgutils.unpack_tuple(builder, each, 3) for each in (given, steps))
        lanes, nothing = simd.simd.lanes, ir.Constant(vector_of(simd).llvm, None)
        shorts, longs = ir.VectorType(_I32, lanes), ir.VectorType(_I64, lanes)

        def integers(base, kind, index):
            start = builder.gep(builder.inttoptr(base, kind.element.as_pointer()), [index])
            return builder.bitcast(start, kind.as_pointer())

        def load_integers(base, kind):
            value = builder.load(integers(base, kind, u))
            value.align = kind.element.width // 8
            return value

        before, right, lower = (broadcast_value(builder, builder.trunc(value, _I32), lanes) for value in steps)
        first, place = (load_integers(base, shorts) for base in cgutils.unpack_tuple(builder, windows, 2))
        added = builder.sub(builder.sub(builder.trunc(load_integers(indices, longs), shorts), before), first)
        is_lower = builder.icmp_signed(">", added, ir.Constant(shorts, [1] * lanes))
        place = builder.add(place, builder.mul(added, right))
        place = builder.add(place, builder.select(is_lower, lower, ir.Constant(shorts, None)))

        # Without a ReLU the gradient is compared, and the outcome left.
        no_relu = builder.icmp_signed("==", results, ir.Constant(_I64, 0))
        result = load_vector(builder, simd, builder.select(no_relu, gradient, results), u)
        passes = builder.or_(builder.fcmp_unordered(">", result, nothing), broadcast_value(builder, no_relu, lanes))
        value = builder.select(passes, load_vector(builder, simd, gradient, u), nothing)
        start = ir.Constant(_I64, 0)
        store_vector(builder, simd, builder.fadd(load_vector(builder, simd, sums, start), value), sums, start)
        listed = builder.fcmp_unordered("!=", value, nothing)
        store_vector(builder, simd, _compressed(builder, value, listed), numbers, found)
        builder.store(_compressed(builder, place, listed), integers(places, shorts, found)).align = 4
        return builder.zext(builder.ctpop(builder.bitcast(listed, ir.IntType(lanes))), _I64)

    integer = types.intp
    two, three = (types.UniTuple(integer, count) for count in (2, 3))
    return integer(simd, three, integer, three, two, integer, integer, integer, integer), generate


def _compressed(builder, value, chosen):
    """Return the ``chosen`` lanes of a vector side by side, in order; the lanes beyond them may have any value."""
    kind = value.type
    letter = "i" if isinstance(kind.element, ir.IntType) else "f"
    bits = 64 if isinstance(kind.element, ir.DoubleType) else 32
    function = ir.FunctionType(kind, [kind, chosen.type, kind])
    name = f"llvm.experimental.vector.compress.v{kind.count}{letter}{bits}"
    compress = cgutils.get_or_insert_function(builder.module, function, name)
    return builder.call(compress, [value, chosen, ir.Constant(kind, ir.Undefined)])
