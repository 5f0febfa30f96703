"""The arguments of a pooling's job.

Addresses are in bytes, all else counts elements. Names are those of `fastconv.geometry`: windows of R x S pixels,
window (p, q) beginning at pixel (p * down - top, q * right - left), its pixels DY and DX apart.
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.simd.arguments import Arguments


class PoolingArguments(Arguments):
    """What all poolings need, forwards and backwards."""

    input: int
    """Address of x or its gradient, (planes, H, W)."""
    output: int
    """Address of y or its gradient, (planes, P, Q)."""
    indices: int
    """Address of the indices, (planes, P, Q)."""
    starts: int
    """Address of a table: as places, the first column in the image of each window in a row."""
    spans: int
    """Address of a table: the first column in the image of each window in a row, and the one after its last."""
    reach: int
    """Address of a table: the first row in the image, and how many, of each row of windows."""
    divisors: int
    """Address of a table: the address of the divisors of each row of windows."""
    planes: int
    H: int
    W: int
    P: int
    Q: int
    R: int
    S: int
    down: int
    right: int
    top: int
    left: int
    DY: int
    DX: int
    task_planes: int
    """Planes in a task."""
    task_rows: int
    """Rows in a task."""
    task_windows: int
    """Windows in a task, where it has no whole rows."""
    row_blocks: int
    """Tasks that share their planes."""
    block_rows: int
    """Rows that are worked on at a time."""
    ahead: int
    """Bytes to be asked for ahead of the next block."""
    task: int
    """Address of the compiled task."""
    tasks: int
    """How many there are."""
