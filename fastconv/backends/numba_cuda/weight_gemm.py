"""Rung 3 for the weight gradient: a product of matrices whose depth is all pixels of all images.

The rows are the result's channels and the columns the channels of x, for one tap a block: within it every thread sees
the same shift of the image. The product is narrow and very deep, so its depth is split among blocks, each adding up its
own pixels; their parts are added in a fixed order by `sums.add_splits`, where atomic additions would give other bits in
every run.
"""

from __future__ import annotations

from fastconv.backends.numba_cuda.cores import MatrixTile
from fastconv.backends.numba_cuda.correlation import Correlation
from fastconv.backends.numba_cuda.kernels import INTEGER, Kernel, family
from fastconv.backends.numba_cuda.pixels import place
from fastconv.backends.numba_cuda.products import Tile, product
from fastconv.backends.numba_cuda.storage import FLOAT32, Storage, loader
from fastconv.backends.numba_cuda.target import cuda, primitives, types


@family
def weigh(tile: Tile, stored: Storage) -> Kernel:
    """Returns the kernel ``(x, grad, parts, f, splits, steps)``, by blocks of ``tile.threads``.

    The blocks of split z add up ``steps`` times ``tile.depth`` pixels from z * steps * depth on, into the part z of
    ``parts``, each part being of the weights' shape.
    """
    rows, columns, depth, threads = tile.rows, tile.columns, tile.depth, tile.threads
    pitch_a, pitch_b = tile.pitches
    dtype = stored.computed
    apart = threads // depth
    fetches_a, fetches_b = rows // apart, columns // apart
    half_a, half_b = depth * pitch_a, depth * pitch_b
    first_b = 2 * half_a
    shared = max(2 * (half_a + half_b), tile.pass_rows * columns)
    parts_of_tile, part_rows = tile.passes, tile.pass_rows
    stores = part_rows * columns // threads
    store_apart = threads // columns
    rounds = isinstance(tile, MatrixTile) and stored is FLOAT32
    int32, int64 = types.int32, types.int64

    zeros, starts, multiply, stage, row_of = product(tile, dtype)
    load = loader(stored)
    to_tf32 = primitives.to_tf32

    def weight_gemm(x, grad, parts, f, splits, steps):
        memory = cuda.shared.array(shared, dtype, alignment=16)
        fetched_a = cuda.local.array(fetches_a, dtype)
        fetched_b = cuda.local.array(fetches_b, dtype)
        t = int32(cuda.threadIdx.x)
        row_tiles, column_tiles = (f.M + rows - 1) // rows, (f.D + columns - 1) // columns
        block = int64(cuda.blockIdx.x)
        row_tile = block % row_tiles
        block //= row_tiles
        column_tile = block % column_tiles
        block //= column_tiles
        tap = block % (f.R * f.S)
        block //= f.R * f.S
        g = int32(block % f.G)
        split = int32(block // f.G)

        # this thread's pixel, and its rows of A and B
        pixel = split * steps * depth + t % depth
        n64, i64, j64 = place(pixel, f)
        n, i, j = int32(n64), int32(i64), int32(j64)
        N, I, J, H, W = int32(f.N), int32(f.I), int32(f.J), int32(f.H), int32(f.W)
        tap_h = int32(f.first_row + (tap // f.S) * f.tap_row)
        tap_w = int32(f.first_column + (tap % f.S) * f.tap_column)
        rows_left = int32(f.M - row_tile * rows - t // depth)
        columns_left = int32(f.D - column_tile * columns - t // depth)
        change_plane, plane = int32(f.P * f.Q), int32(f.H * f.W)
        change_image, image = f.G * f.M * f.P * f.Q, f.G * f.D * f.H * f.W
        change_first = (g * f.M + row_tile * rows + t // depth) * f.P * f.Q
        first = (g * f.D + column_tile * columns + t // depth) * f.H * f.W
        start_a, start_b = starts(t)
        start_b = int32(start_b + first_b)
        put_a = int32((t % depth) * pitch_a + t // depth)
        put_b = int32(first_b + (t % depth) * pitch_b + t // depth)

        sums = zeros()
        half = int32(0)
        left = int32(steps)
        multiplying = False
        while True:
            more = left > 0
            if more:
                present = n < N
                at = n * change_image + change_first + i * J + j
                for u in range(fetches_a):
                    value = dtype(0)
                    if present and u * apart < rows_left:
                        value = load(grad, at)
                    fetched_a[u] = value
                    at += apart * change_plane
                h = int32(i * f.step_row + tap_h)
                w = int32(j * f.step_column + tap_w)
                inside = present and 0 <= h < H and 0 <= w < W
                at = n * image + first + h * W + w
                for u in range(fetches_b):
                    value = dtype(0)
                    if inside and u * apart < columns_left:
                        value = load(x, at)
                    fetched_b[u] = value
                    at += apart * plane
                left = int32(left - 1)
                j = int32(j + depth)
                while j >= J:
                    j = int32(j - J)
                    i = int32(i + 1)
                    if i == I:
                        i = int32(0)
                        n = int32(n + 1)
            if multiplying:
                sums = multiply(sums, memory, memory, half * half_a + start_a, half * half_b + start_b)
                half = int32(1 - half)
            if not more:
                break
            for u in range(fetches_a):
                value = fetched_a[u]
                memory[half * half_a + put_a + u * apart] = to_tf32(value) if rounds else value
            for u in range(fetches_b):
                value = fetched_b[u]
                memory[half * half_b + put_b + u * apart] = to_tf32(value) if rounds else value
            multiplying = True
            cuda.syncthreads()

        d = column_tile * columns + t % columns
        taps = f.R * f.S
        for part in range(parts_of_tile):
            cuda.syncthreads()
            sums = stage(sums, memory, t)
            cuda.syncthreads()
            for u in range(stores):
                r = t // columns + u * store_apart
                m = row_tile * rows + row_of(part, r)
                if m < f.M and d < f.D:
                    parts[((split * int64(f.G) + g) * f.M + m) * f.D * taps + d * taps + tap] = memory[
                        r * columns + t % columns
                    ]

    takes = stored.memory, stored.memory, dtype, Correlation, INTEGER, INTEGER
    return Kernel(weight_gemm, threads, *takes, resident=tile.resident)
