"""The arguments of Winograd's convolution, and of its weight gradient."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class WinogradArguments(ConvArguments):
    """Where patches begin, and the kernel's size, besides what all algorithms need."""

    first_y: int
    """Source row, in steps, that the first tap reads for lattice row 0."""
    first_x: int
    """Source column, in steps, that it reads for lattice column 0."""
    tap_rows: int
    tap_columns: int
