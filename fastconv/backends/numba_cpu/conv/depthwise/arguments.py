"""`PlaneArguments` are the arguments of a convolution from single channels, and of its weight gradient."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class PlaneArguments(ConvArguments):
    """These arguments add the taps' places and the size of a task to those of all algorithms."""

    tap_offsets: int
    """Address of a table: dy of each row of taps, then dx of each column."""
    tap_rows: int
    tap_columns: int
    task_planes: int
    """Planes, or target channels of a weight gradient, in a task."""
    block_rows: int
    """Lattice rows in a block."""
