"""`PoolingArguments` are the arguments of a pooling operation.

Addresses are in bytes, all else counts elements. Names are those of `fastconv.geometry`: windows of R x S pixels,
window (p, q) begins at pixel (p * down - top, q * right - left), and its pixels are DY rows and DX columns apart.
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.simd.arguments import Arguments


class PoolingArguments(Arguments):
    """These arguments serve all poolings, in the forward and the backward pass."""

    input: int
    """Address of x or its gradient, (planes, H, W)."""
    output: int
    """Address of y or its gradient, (planes, P, Q)."""
    indices: int
    """Address of the indices, (planes, P, Q)."""
    starts: int
    """Address of a table: the first column in the image of each window in a row, in the integer type of places."""
    spans: int
    """Address of a table: the first column in the image of each window in a row, and the one after its last."""
    reach: int
    """Address of a table: for each row of windows, its first row in the image and the number of rows; in a gradient,
    for each row of the image, its first row of windows and the number of these rows."""
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
    """Number of tasks that share the same planes."""
    block_rows: int
    """Rows that are worked on at a time."""
    ahead: int
    """Distance of prefetches, in bytes; 0 for none."""
