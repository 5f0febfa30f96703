"""Rung 4 for the weight gradient, and rung 5's with one row: each thread adds up a handful of products over its own
pixels.

A block has a few rows of the result's channels and the taps of one row of one plane of the kernel, at most 8: for each
pixel a thread loads one gradient a row and one element of x a tap, and multiplies them all with one another. The
pixels are dealt out among the threads of the block, and among blocks (splits); the threads' sums are added as a tree
and the blocks' in order, so the bits never change.
"""

from __future__ import annotations

from fastconv.backends.numba_cuda.correlation import Correlation
from fastconv.backends.numba_cuda.kernels import INTEGER, Kernel, family
from fastconv.backends.numba_cuda.pixels import divided32
from fastconv.backends.numba_cuda.storage import Storage
from fastconv.backends.numba_cuda.target import cuda, primitives, types

THREADS = 128


@family
def weigh(stored: Storage, rows: int, taps: int) -> Kernel:
    """Returns the kernel ``(x, grad, parts, f, splits, share)``: split z adds up ``share`` pixels from z * share on,
    into its part.

    There are fewer than 2**31 pixels.
    """
    dtype = stored.computed
    sums_count = rows * taps
    shared = sums_count * THREADS
    zeros = primitives.zeros(sums_count, dtype)
    outer = primitives.outer(rows, taps, dtype)
    changes_of = primitives.gather(rows, stored)
    seen_of = primitives.gather_inside(taps, stored)
    put = primitives.store_vectors(sums_count, 1, dtype)
    int32, int64 = types.int32, types.int64

    def direct_weight(x, grad, parts, f, splits, share):
        memory = cuda.shared.array(shared, dtype)
        t = int32(cuda.threadIdx.x)
        row_blocks, tap_blocks = (f.M + rows - 1) // rows, (f.S + taps - 1) // taps
        block = int64(cuda.blockIdx.x)
        first_m = block % row_blocks * rows
        block //= row_blocks
        first_s = block % tap_blocks * taps
        block //= tap_blocks
        r = block % f.R
        block //= f.R
        d = block % f.D
        block //= f.D
        g = block % f.G
        split = block // f.G
        result, plane = f.P * f.Q, f.H * f.W
        rows_left, taps_left = f.M - first_m, f.S - first_s
        area, J, H, W = int32(f.I * f.J), int32(f.J), int32(f.H), int32(f.W)
        step_row, step_column, tap_column = int32(f.step_row), int32(f.step_column), int32(f.tap_column)
        first_row = int32(f.first_row + r * f.tap_row)
        first_column = int32(f.first_column + first_s * f.tap_column)
        change_image, image = f.G * f.M * result, f.G * f.D * plane
        first_change, first = (g * f.M + first_m) * result, (g * f.D + d) * plane
        last = min(f.N * f.I * f.J, (split + 1) * share)

        sums = zeros()
        for pixel in range(split * share + t, last, THREADS):
            # in 32 bits: a division of 64 takes as long as all the products
            n = divided32(pixel, area)
            rest = int32(pixel - n * area)
            i = divided32(rest, J)
            j = int32(rest - i * J)
            h = int32(i * step_row + first_row)
            v = int32(j * step_column + first_column)
            row, width = n * image + first, W
            if 0 <= h < H:
                row += h * W
            else:
                width = int32(0)
            changes = changes_of(grad, n * change_image + first_change + rest, result, rows_left)
            sums = outer(sums, changes, seen_of(x, row, v, tap_column, width))
        put(memory, t, THREADS, sums)
        reach = THREADS // 2
        while reach:
            cuda.syncthreads()
            for at in range(t, sums_count * reach, THREADS):
                target = at // reach * THREADS + at % reach
                memory[target] += memory[target + reach]
            reach //= 2
        cuda.syncthreads()
        if t < sums_count:
            m, s = t // taps, t % taps
            if m < rows_left and s < taps_left:
                at = ((((split * f.G + g) * f.M + first_m + m) * f.D + d) * f.R + r) * f.S + first_s + s
                parts[at] = memory[t * THREADS]

    takes = stored.memory, stored.memory, dtype, Correlation, INTEGER, INTEGER
    return Kernel(direct_weight, THREADS, *takes, resident=4 if sums_count <= 40 else 3)
