"""Rung 3: convolution as a product of matrices of which one is never made (implicit GEMM).

The rows of the product are the result's channels, its columns the pixels of all images, and its depth the taps with the
channels of x innermost. A block makes one tile of the result: step by step it brings a piece of the packed weights,
depth x rows, and of x, depth x columns, into shared memory, where a column of x's matrix is gathered from the image as
its pixel sees it through the tap. Since one step stays within one tap, a thread decides but once a tap whether its
pixel lies inside, and goes from channel to channel by adding the size of a plane.

While a step is multiplied, the next is on its way from memory into registers, and is put down in the other half of the
shared memory: one barrier a step. Results go through shared memory too, so that they leave in whole rows of pixels.

The form is cuDNN's "implicit precomputed GEMM" (Chetlur et al., "cuDNN: efficient primitives for deep learning", 2014);
here the order of the depth makes the precomputed table of offsets needless.
"""

from __future__ import annotations

from fastconv.backends.numba_cuda.cores import MatrixTile
from fastconv.backends.numba_cuda.correlation import Correlation
from fastconv.backends.numba_cuda.kernels import INTEGER, Kernel, family
from fastconv.backends.numba_cuda.pixels import place, source, target
from fastconv.backends.numba_cuda.products import Tile, product
from fastconv.backends.numba_cuda.storage import FLOAT32, Storage, loader, storer
from fastconv.backends.numba_cuda.target import cuda, primitives, types


@family
def correlate(tile: Tile, stored: Storage, result: Storage, even: bool) -> Kernel:
    """Returns the kernel ``(x, packed, bias, y, f, chunks, padded_rows, splits, steps, biased)``, by blocks of
    ``tile.threads``.

    ``packed`` is what `packing` makes of the weights. The blocks of split z do only ``steps`` steps from z * steps on,
    and leave their sums z sizes of y further: with one split that is the result, with more they are to be added up.
    """
    rows, columns, depth, threads = tile.rows, tile.columns, tile.depth, tile.threads
    pitch_a, pitch_b = tile.pitches
    dtype = stored.computed
    vector = stored.vector
    fetches = depth * columns // threads
    fetch_apart = threads // columns
    vectors_a_row = rows // vector
    pieces = max(1, depth * vectors_a_row // threads)
    piece_apart = threads // vectors_a_row
    half_a, half_b = depth * pitch_a, depth * pitch_b
    first_b = 2 * half_a
    shared = max(2 * (half_a + half_b), tile.pass_rows * columns)
    parts, part_rows = tile.passes, tile.pass_rows
    stores = part_rows * columns // threads
    rounds = isinstance(tile, MatrixTile) and stored is FLOAT32

    zeros, starts, multiply, stage, row_of = product(tile, dtype)
    load, store = loader(stored), storer(result)
    load_piece = primitives.load_vectors(pieces, vector, dtype)
    store_piece = primitives.store_vectors(pieces, vector, dtype)
    to_tf32 = primitives.to_tf32
    int32, int64 = types.int32, types.int64

    def implicit_gemm(x, packed, bias, y, f, chunks, padded_rows, splits, steps, biased):
        memory = cuda.shared.array(shared, dtype, alignment=16)
        fetched = cuda.local.array(fetches, dtype)
        t = int32(cuda.threadIdx.x)
        row_tiles = int32(padded_rows // rows)
        block = int32(cuda.blockIdx.x)
        row_tile = int32(block % row_tiles)
        block = int32(block // row_tiles)
        g = int32(block % int32(f.G))
        block = int32(block // int32(f.G))
        split = int32(block % int32(splits))
        pixel = (block // int32(splits)) * int64(columns) + t % columns

        n, i, j = place(pixel, f)
        present = n < f.N
        D, H, W, S, plane = int32(f.D), int32(f.H), int32(f.W), int32(f.S), int32(f.H * f.W)
        start_a, start_b = starts(t)
        start_b = int32(start_b + first_b)
        # in a small tile some threads bring the same piece as others
        bringer = int32(t % (depth * vectors_a_row))
        put_a = int32((bringer // vectors_a_row) * pitch_a + vector * (bringer % vectors_a_row))
        put_b = int32(first_b + (t // columns) * pitch_b + t % columns)

        step = int32(split * steps)
        left = int32(min(steps, f.R * f.S * chunks - step))
        tap = int32(step // int32(chunks))
        chunk = int32(step - tap * chunks)
        s = int32(tap % S)
        h = int32(i * f.step_row + f.first_row + (tap // S) * f.tap_row)
        w = int32(j * f.step_column + f.first_column + s * f.tap_column)
        inside = present and 0 <= h < H and 0 <= w < W
        seen = source(n, g, f) + h * f.W + w
        from_a = (
            ((g * f.R * f.S * chunks + step) * depth + bringer // vectors_a_row) * padded_rows
            + row_tile * rows
            + vector * (bringer % vectors_a_row)
        )

        sums = zeros()
        half = int32(0)
        multiplying = False
        while True:
            more = left > 0
            if more:
                piece = load_piece(packed, from_a, piece_apart * padded_rows)
                channel = int32(chunk * depth + t // columns)
                at = seen + channel * plane
                for u in range(fetches):
                    value = dtype(0)
                    if inside and (even or channel + u * fetch_apart < D):
                        value = load(x, at)
                    fetched[u] = value
                    at += fetch_apart * plane
                from_a += depth * padded_rows
                left = int32(left - 1)
                chunk = int32(chunk + 1)
                if chunk == chunks:
                    chunk = int32(0)
                    s = int32(s + 1)
                    w = int32(w + f.tap_column)
                    seen += f.tap_column
                    if s == S:
                        s = int32(0)
                        w = int32(w - f.S * f.tap_column)
                        h = int32(h + f.tap_row)
                        seen += f.tap_row * f.W - f.S * f.tap_column
                    inside = present and 0 <= h < H and 0 <= w < W
            if multiplying:
                sums = multiply(sums, memory, memory, half * half_a + start_a, half * half_b + start_b)
                half = int32(1 - half)
            if not more:
                break
            # the half that no thread reads any more: the barrier before made sure
            store_piece(memory, half * half_a + put_a, piece_apart * pitch_a, piece)
            for u in range(fetches):
                value = fetched[u]
                if rounds:
                    value = to_tf32(value)
                memory[half * half_b + put_b + u * fetch_apart * pitch_b] = value
            multiplying = True
            cuda.syncthreads()

        at = target(n, g, i, j, f) + split * f.N * f.G * f.M * f.P * f.Q
        for part in range(parts):
            cuda.syncthreads()
            sums = stage(sums, memory, t)
            cuda.syncthreads()
            for u in range(stores):
                r = t // columns + u * fetch_apart
                m = row_tile * rows + row_of(part, r)
                if present and m < f.M:
                    value = memory[r * columns + t % columns]
                    if biased:
                        value += load(bias, g * f.M + m)
                    store(y, at + m * f.P * f.Q, value)

    memory = stored.memory
    takes = memory, dtype, memory, result.memory, Correlation
    return Kernel(implicit_gemm, threads, *takes, *[INTEGER] * 5, resident=tile.resident)
