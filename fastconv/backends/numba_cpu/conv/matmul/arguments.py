"""`MatrixArguments` are the arguments of a product of matrices that are read in place."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class MatrixArguments(ConvArguments):
    """These arguments add the layout of matrices a (rows x depth) and b (depth x points) to those of all algorithms."""

    points: int
    """Columns of b."""
    width: int
    """Elements between rows of b."""
    row_step: int
    """Elements between rows of a."""
    depth_step: int
    """Elements between columns of a."""
    pixels: int
    """Steps of a weight gradient's sum: pixels of the image."""
    transposed: int
    """Address of the transposed source, in a weight gradient."""
