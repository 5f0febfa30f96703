"""A copy of elements of any strides, in C order."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastconv.backends.numba_cuda.kernels import Kernel, family
from fastconv.backends.numba_cuda.target import cuda

THREADS = 128


class Steps(NamedTuple):
    """The sizes of four axes A to D, and their steps in elements, from the element ``first`` on."""

    size: int
    first: int
    B: int
    C: int
    D: int
    step_a: int
    step_b: int
    step_c: int
    step_d: int


@family
def copy(kind: Any) -> Kernel:
    """Returns the kernel ``(x, y, f)``: y in C order from x, one thread an element."""

    def copying(x, y, f):
        at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        if at < f.size:
            d = at % f.D
            c = at // f.D % f.C
            b = at // (f.D * f.C) % f.B
            a = at // (f.D * f.C * f.B)
            y[at] = x[f.first + a * f.step_a + b * f.step_b + c * f.step_c + d * f.step_d]

    return Kernel(copying, THREADS, kind, kind, Steps)
