"""The input gradient of average pooling is gathered: each pixel is the sum of the shares of the windows it is in.

    v[i, q]                     =  sum over the rows p of windows that cover row i of grad[p, q]
    x[i, m * RIGHT - LEFT + s]  =  sum over t of v[i, m - t] / divisor,     0 <= s < RIGHT,  0 <= s + t * RIGHT < S

A vector holds one s for successive m. If windows are one pixel apart it is a vector of the image; if they are two
apart, the vectors for s = 0 and s = 1 are interleaved into two. Pixels that no window covers get 0.

Shares are divided, as in torch, not multiplied by a reciprocal, which rounds once more: a division of 16 numbers takes
10 cycles, as long as writing two vectors to memory that isn't in the L1 cache. If windows overlap, the gradient is
divided before, and the divisor here is 1: a sum of undivided numbers may overflow. If windows lie side by side and fill
the planes, each row of shares is written to all pixel rows of its windows at a time.

A vector goes down all rows before the next one does, so that masks are made once. Planes, and rows of large planes, are
the parallel axis.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import cgutils, intrinsic, types
from fastconv.backends.numba_cpu.pooling.arguments import PoolingArguments
from fastconv.backends.numba_cpu.pooling.windows.memory import interleaved, load_visible, write_visible
from fastconv.backends.numba_cpu.simd import broadcast_value, load_integer, load_scalar, vector_of
from fastconv.backends.numba_cpu.simd.task import task

_I64 = ir.IntType(64)


def _shares_of(w: Any) -> Any:
    return types.UniTuple(vector_of(w), w.simd.step)


@intrinsic
def no_shares(typing, w):
    """Return ``w.step`` vectors of zeros, one for each column between two windows."""

    def generate(context, builder, signature, arguments):
        zero = ir.Constant(vector_of(w).llvm, None)
        return context.make_tuple(builder, signature.return_type, [zero] * w.simd.step)

    return _shares_of(w)(w), generate


@intrinsic
def add_shares(typing, w, shares, row, m, windows, count):
    """Return the shares of pixels from window m on, with those from a row of the gradient, at address ``row``, added.

    They are added from left to right, so that sums round as torch's do.

    windows: number of windows in the row. count: columns of a window, if ``w`` doesn't know them.
    """
    step = w.simd.step

    def generate(context, builder, signature, arguments):
        _, shares, row, m, windows, count = arguments
        sums = list(cgutils.unpack_tuple(builder, shares, step))

        def window(t: Any) -> Any:
            return load_visible(builder, w, row, builder.sub(m, t), windows)

        if w.simd.columns:
            for t in reversed(range(-(-w.simd.columns // step))):
                value = window(ir.Constant(_I64, t))
                for s in range(min(step, w.simd.columns - t * step)):
                    sums[s] = builder.fadd(sums[s], value)
        else:
            variables = [cgutils.alloca_once_value(builder, value) for value in sums]
            zero, steps = ir.Constant(_I64, 0), ir.Constant(_I64, step)
            last = builder.udiv(builder.sub(count, ir.Constant(_I64, 1)), steps)
            with cgutils.for_range_slice(builder, zero, count, steps, _I64) as (passed, _):
                t = builder.sub(last, builder.udiv(passed, steps))
                value, first = window(t), builder.mul(t, steps)
                for s, variable in enumerate(variables):
                    there = builder.icmp_signed("<", builder.add(first, ir.Constant(_I64, s)), count)
                    with builder.if_then(there):
                        builder.store(builder.fadd(builder.load(variable), value), variable)
            sums = [builder.load(variable) for variable in variables]
        return context.make_tuple(builder, signature.return_type, sums)

    return _shares_of(w)(w, _shares_of(w), *[types.intp] * 4), generate


@intrinsic
def divided(typing, w, shares, divisor):
    """Return the shares divided by ``divisor``."""

    def generate(context, builder, signature, arguments):
        _, shares, divisor = arguments
        divisors = broadcast_value(builder, divisor, w.simd.lanes)
        vectors = [builder.fdiv(v, divisors) for v in cgutils.unpack_tuple(builder, shares, w.simd.step)]
        return context.make_tuple(builder, signature.return_type, vectors)

    return _shares_of(w)(w, _shares_of(w), w.scalar), generate


@intrinsic
def deliver_shares(typing, w, shares, row, column, width):
    """Write the shares as pixels from ``column`` on; those outside the image are left out."""
    lanes = w.simd.lanes

    def generate(context, builder, signature, arguments):
        _, shares, row, column, width = arguments
        vectors = cgutils.unpack_tuple(builder, shares, w.simd.step)
        if w.simd.step == 2:
            vectors = interleaved(builder, w, *vectors)
        for vector in vectors:
            write_visible(builder, w, vector, row, column, width)
            column = builder.add(column, ir.Constant(_I64, lanes))
        return context.get_dummy_value()

    return types.void(w, _shares_of(w), *[types.intp] * 3), generate


@task(PoolingArguments)
def spread_rows(w, args, task, thread):
    """Fill a task's rows of its planes: rows of windows if ``w`` knows the rows of a window, else rows of pixels."""
    size, lanes, S = w.itemsize, w.lanes, args.S
    H, W, P, Q = args.H, args.W, args.P, args.Q
    step, left = args.right, args.left
    reach, divisor = args.reach, load_scalar(w, args.divisors, 0)
    blocks, rows, planes = (
        args.row_blocks,
        args.task_rows,
        args.task_planes,
    )
    first_plane, first = task // blocks * planes, task % blocks * rows
    end_plane = min(args.planes, first_plane + planes)
    last = min(H if w.rows == 0 else P, first + rows)
    for plane in range(first_plane, end_plane):
        image = args.input + size * plane * H * W
        grad = args.output + size * plane * P * Q
        for c in range(-(left % step), W, step * lanes):
            m = (c + left) // step
            if w.rows != 0:
                for p in range(first, last):
                    shares = divided(w, add_shares(w, no_shares(w), grad + size * p * Q, m, Q, S), divisor)
                    for r in range(w.rows):
                        deliver_shares(w, shares, image + size * (p * w.rows + r) * W, c, W)
                continue
            for i in range(first, last):
                row = grad + size * load_integer(reach, 2 * i) * Q
                shares = no_shares(w)
                for _ in range(load_integer(reach, 2 * i + 1)):
                    shares = add_shares(w, shares, row, m, Q, S)
                    row += size * Q
                deliver_shares(w, divided(w, shares, divisor), image + size * i * W, c, W)
