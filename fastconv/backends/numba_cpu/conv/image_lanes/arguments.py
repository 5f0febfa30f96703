"""The arguments of a convolution with images in the lanes, and of its weight gradient."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class BatchArguments(ConvArguments):
    """Which rows are interleaved, besides what all algorithms need."""

    columns: int
    """Address of the table of a weight gradient's columns: see weight_grad.py."""
    plane_w: int
    """Columns of an interleaved plane."""
    channel: int
    """Elements of an interleaved channel."""
    block_rows: int
    """Lattice rows in a block."""
    top: int
    """The least dy of all taps."""
    left: int
    """The least dx of all taps."""
    reach: int
    """By how much the largest dy exceeds the least."""
