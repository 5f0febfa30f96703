"""The input gradient of max pooling by windows of 2 x 2 side by side is written in vectors, if its indices fit.

    x[2 p + r, 2 q + s]  =  grad[p, q] if indices[p, q] is that pixel's, else 0

The backward pass gets indices and sizes, not windows: a plane twice as high and wide as its gradient is likely to come
from such a pooling. Each index of a vector is compared with its window's four pixels, and the four vectors of numbers
or zeros that result are interleaved into two rows. At the first index that is none of the four, the plane is left to
`scatter`. In the caches 12 windows take 24 cycles and not 31; beyond the caches it writes two rows at a time, which is
slower by half, so it isn't tried.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import inner, intrinsic, types
from fastconv.backends.numba_cpu.pooling.windows.memory import interleaved, load_visible, visible, write_visible
from fastconv.backends.numba_cpu.pooling.windows.state import place_type, ramp, spread
from fastconv.backends.numba_cpu.simd import masked_load, vector_of

_I64 = ir.IntType(64)

_ROWS = 16
"""Rows of windows that a vector goes down before the next one does, so that masks are made once: a fifth faster than
along rows."""


@intrinsic
def _place(typing, w, grad, indices, image, origin, q, windows, width):
    """Write two rows of pixels for a vector of windows from q on; return 1 if all indices fit their windows, else 0.

    grad, indices, image: the addresses of a row of ``windows`` windows and of the first row of pixels, ``width`` wide,
    whose first pixel's index is ``origin``.
    """

    def generate(context, builder, signature, arguments):
        _, grad, indices, image, origin, q, windows, width = arguments
        lanes, kind = w.simd.lanes, vector_of(w).llvm
        zero, two = ir.Constant(kind, None), ir.Constant(_I64, 2)
        there = visible(builder, w, q, windows)
        # 0 is added to make 0 of -0, as where numbers are added to a cleared plane.
        numbers = builder.fadd(load_visible(builder, w, grad, q, windows), zero)
        wide = ir.VectorType(_I64, lanes)
        pointer = builder.gep(builder.inttoptr(indices, _I64.as_pointer()), [q])
        pointer = builder.bitcast(pointer, wide.as_pointer())
        found = masked_load(builder, pointer, there, ir.Constant(wide, None), 8)
        if place_type(w) != _I64:
            found = builder.trunc(found, ir.VectorType(place_type(w), lanes))
        column = builder.mul(q, two)
        first = builder.add(ramp(w, 2), spread(builder, w, builder.add(origin, column)))
        offset = builder.sub(found, first)
        rows: list[list[Any]] = []
        hits = []
        for r in range(2):
            rows.append([])
            for s in range(2):
                place = builder.add(builder.mul(width, ir.Constant(_I64, r)), ir.Constant(_I64, s))
                hit = builder.icmp_unsigned("==", offset, spread(builder, w, place))
                hits.append(hit)
                rows[r].append(builder.select(hit, numbers, zero))
        own = reduce(builder.or_, hits, builder.not_(there))
        good = builder.icmp_unsigned("==", builder.bitcast(own, ir.IntType(lanes)), ir.IntType(lanes)(-1))
        with builder.if_then(good):
            for pair in rows:
                at = column
                for vector in interleaved(builder, w, *pair):
                    write_visible(builder, w, vector, image, at, width)
                    at = builder.add(at, ir.Constant(_I64, lanes))
                image = builder.add(image, builder.mul(width, ir.Constant(_I64, w.simd.itemsize)))
        return builder.zext(good, _I64)

    return types.intp(w, *[types.intp] * 7), generate


@inner
def place_pairs(w, image, grad, indices, P, Q):
    """Fill a plane of 2 P x 2 Q pixels; return False, with the plane partly filled, if an index doesn't fit its window.

    image, grad, indices: the addresses of the plane and of what belongs to its P x Q windows.
    """
    size, W = w.itemsize, 2 * Q
    for first in range(0, P, _ROWS):
        for q in range(0, Q, w.lanes):
            for p in range(first, min(P, first + _ROWS)):
                row = 2 * p * W
                if _place(w, grad + size * p * Q, indices + 8 * p * Q, image + size * row, row, q, Q, W) == 0:
                    return False
    return True
