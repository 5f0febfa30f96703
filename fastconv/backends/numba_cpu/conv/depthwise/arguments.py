"""The arguments of a convolution from single channels, and of its weight gradient."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class PlaneArguments(ConvArguments):
    """Where the taps are, and what a task does, besides what all algorithms need."""

    tap_offsets: int
    """Address of dy of each row of taps, then of dx of each column."""
    tap_rows: int
    tap_columns: int
    task_planes: int
    """Planes, or target channels of a weight gradient, in a task."""
    block_rows: int
    """Lattice rows in a block."""
