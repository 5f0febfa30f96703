"""`BatchArguments` are the arguments of a convolution with images in the lanes, and of its weight gradient."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class BatchArguments(ConvArguments):
    """These arguments add the layout of the interleaved rows to those of all algorithms."""

    columns: int
    """Address of the table of a weight gradient's columns: see weight_grad.py."""
    plane_w: int
    """Columns of an interleaved plane, each a vector."""
    channel: int
    """Elements of an interleaved channel."""
    block_rows: int
    """Lattice rows in a block."""
    top: int
    """The least dy of all taps."""
    left: int
    """The least dx of all taps."""
    reach: int
    """Difference between the largest and the least dy."""
