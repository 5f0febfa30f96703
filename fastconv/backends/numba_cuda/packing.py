"""Weights in the order in which implicit GEMM reads them: group, tap, channel of x, row of the result.

Channels are filled up to a whole number of steps and rows to a whole number of tiles, with zeros; for the matrix units
each weight is rounded to TF32 on the way. Where a product that falls outside the image must be left out, and not be
infinity times 0, each block also notes whether it met a weight that isn't finite: for those `definition` steps in.
"""

from __future__ import annotations

from fastconv.backends.numba_cuda.correlation import Correlation
from fastconv.backends.numba_cuda.kernels import INTEGER, Kernel, family
from fastconv.backends.numba_cuda.storage import Storage, loader
from fastconv.backends.numba_cuda.target import cuda, primitives, types

THREADS = 256


@family
def pack(stored: Storage, rounds: bool) -> Kernel:
    """Returns the kernel ``(w, packed, odd, f, padded_depth, padded_rows)``: one thread an element of ``packed``;
    ``odd`` one a block."""
    load = loader(stored)
    dtype = stored.computed
    to_tf32 = primitives.to_tf32
    int32 = types.int32

    def packing(w, packed, odd, f, padded_depth, padded_rows):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        m = at % padded_rows
        rest = at // padded_rows
        d = rest % padded_depth
        rest //= padded_depth
        tap = rest % (f.R * f.S)
        g = rest // (f.R * f.S)
        value = dtype(0)
        if g < f.G:
            if m < f.M and d < f.D:
                r = tap // f.S
                s = tap - r * f.S
                value = load(
                    w,
                    f.w_first + g * f.w_group + m * f.w_row + d * f.w_depth + r * f.w_tap_row + s * f.w_tap_column,
                )
            packed[at] = to_tf32(value) if rounds else value
        strange = cuda.syncthreads_or(1 if value - value != 0 else 0)
        if cuda.threadIdx.x == 0:
            odd[cuda.blockIdx.x] = int32(strange)

    return Kernel(packing, THREADS, stored.memory, dtype, types.int32, Correlation, INTEGER, INTEGER)
