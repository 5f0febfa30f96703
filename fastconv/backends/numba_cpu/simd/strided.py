"""`load_apart` loads elements that are one, two or four elements apart, such as pixels under a tap with that stride."""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.simd.memory import load, load_where
from fastconv.backends.numba_cpu.simd.ops import evens, lanes_between, zeros


@inner
def can_load_apart(step):
    """Return whether `load_apart` is for this step."""
    return step in (1, 2, 4)


@inner
def load_apart(simd, base, index, step):
    """Load elements ``index``, index + step, ..., a vector of them, without masks that depend on where they are.

    Memory after the last of them isn't touched: an array may end there.
    """
    lanes = simd.lanes
    if step == 1:
        return load(simd, base, index)
    near = load(simd, base, index)
    if step == 2:
        return evens(simd, near, load_where(simd, base, index + lanes, lanes_between(simd, 0, lanes - 1), zeros(simd)))
    near = evens(simd, near, load(simd, base, index + lanes))
    end = 4 * lanes - 3
    third = load_where(simd, base, index + 2 * lanes, lanes_between(simd, 0, end - 2 * lanes), zeros(simd))
    fourth = load_where(simd, base, index + 3 * lanes, lanes_between(simd, 0, end - 3 * lanes), zeros(simd))
    return evens(simd, near, evens(simd, third, fourth))
