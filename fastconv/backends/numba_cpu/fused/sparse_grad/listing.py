"""This file lists the argmax pixels of a channel whose gradient isn't zero: their gradients, and where patches begin.

A pixel's *place* is where its patch begins, in elements from the block's first patch. Windows have 2 x 2 pixels, so what
pooling's index adds to that of the window's first pixel is 0, 1, J or J + 1 for rows of J pixels, and

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
    broadcast_value,
    load_integer,
    load_scalar,
    load_vector,
    store_scalar,
    store_vector,
    vector_of,
    zero,
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
def list_argmax(simd, count, gradient, indices, before, columns, table, windows, places, numbers):
    """List the argmax pixels of ``count`` windows whose gradient isn't zero; return how many they are.

    Args:
        simd: the type of the numbers.
        count: windows.
        gradient, indices: addresses of the gradient and the index of the first window.
        before: the index of the first pixel in ``table``.
        columns: pixels in a row.
        table: address of the place of each pixel, 64-bit integers.
        windows: addresses of the first pixel of each window and of its place, 32-bit integers.
        places, numbers: addresses of the lists to write, of patches and gradients, each with room for ``count``.
    """
    found, whole = 0, count // simd.lanes * simd.lanes * _by_vectors(simd)
    right = load_integer(table, 1)
    lower = load_integer(table, columns) - columns * right
    for u in range(0, whole, simd.lanes):
        found += _list_vector(simd, gradient, indices, u, before, right, lower, windows, places, numbers, found)
    for u in range(whole, count):
        value = load_scalar(simd, gradient, u)
        _store_short(places, found, load_integer(table, load_integer(indices, u) - before))
        store_scalar(simd, numbers, found, value)
        found += value != zero(simd)
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
def _list_vector(typing, simd, gradient, indices, u, before, right, lower, windows, places, numbers, found):
    """List a vector of windows from window ``u`` on, after ``found`` others; return how many were added.

    ``right`` is how much further the place of the next pixel to the right is, and ``lower`` what a pixel of the lower
    row adds to that. ``windows`` are two addresses, see `list_argmax`.
    """

    def generate(context, builder, signature, arguments):
        _, gradient, indices, u, before, right, lower, windows, places, numbers, found = arguments
        lanes = simd.simd.lanes
        shorts, longs = ir.VectorType(_I32, lanes), ir.VectorType(_I64, lanes)

        def integers(base, kind, index):
            start = builder.gep(builder.inttoptr(base, kind.element.as_pointer()), [index])
            return builder.bitcast(start, kind.as_pointer())

        def load_integers(base, kind):
            value = builder.load(integers(base, kind, u))
            value.align = kind.element.width // 8
            return value

        def everywhere(value):
            return broadcast_value(builder, builder.trunc(value, _I32), lanes)

        first, place = (load_integers(base, shorts) for base in cgutils.unpack_tuple(builder, windows, 2))
        index = builder.sub(builder.trunc(load_integers(indices, longs), shorts), everywhere(before))
        added = builder.sub(index, first)
        is_lower = builder.icmp_signed(">", added, ir.Constant(shorts, [1] * lanes))
        place = builder.add(place, builder.mul(added, everywhere(right)))
        place = builder.add(place, builder.select(is_lower, everywhere(lower), ir.Constant(shorts, None)))
        value = load_vector(builder, simd, gradient, u)
        listed = builder.fcmp_unordered("!=", value, ir.Constant(vector_of(simd).llvm, None))
        store_vector(builder, simd, _compressed(builder, value, listed), numbers, found)
        builder.store(_compressed(builder, place, listed), integers(places, shorts, found)).align = 4
        return builder.zext(builder.ctpop(builder.bitcast(listed, ir.IntType(lanes))), _I64)

    integer = types.intp
    given = [integer] * 6 + [types.UniTuple(integer, 2)] + [integer] * 3
    return integer(simd, *given), generate


def _compressed(builder, value, chosen):
    """Return the ``chosen`` lanes of a vector side by side, in order; the lanes beyond them may have any value."""
    kind = value.type
    letter = "i" if isinstance(kind.element, ir.IntType) else "f"
    bits = 64 if isinstance(kind.element, ir.DoubleType) else 32
    function = ir.FunctionType(kind, [kind, chosen.type, kind])
    name = f"llvm.experimental.vector.compress.v{kind.count}{letter}{bits}"
    compress = cgutils.get_or_insert_function(builder.module, function, name)
    return builder.call(compress, [value, chosen, ir.Constant(kind, ir.Undefined)])
