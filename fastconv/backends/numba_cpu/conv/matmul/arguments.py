"""The arguments of a product of matrices that are read where they lie."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class MatrixArguments(ConvArguments):
    """How the matrices a (rows x depth) and b (depth x points) lie in memory, besides what all algorithms need."""

    points: int
    """Columns of b."""
    width: int
    """Elements between rows of b."""
    row_step: int
    """Elements between rows of a."""
    depth_step: int
    """Elements between columns of a."""
    pixels: int
    """Steps of a weight gradient's sum."""
    transposed: int
    """Address of the transposed source, of a weight gradient."""
