"""`WinogradArguments` are the arguments of Winograd's convolution and of its weight gradient."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class WinogradArguments(ConvArguments):
    """These arguments add the first patch's place and the kernel's size to those of all algorithms."""

    first_y: int
    """Source row that the first tap reads for lattice row 0, in steps."""
    first_x: int
    """Source column that the first tap reads for lattice column 0, in steps."""
    tap_rows: int
    tap_columns: int
