"""`MatrixArguments` are the arguments of a product of matrices that are read in place."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class MatrixArguments(ConvArguments):
    """These arguments add the layout of matrices a (rows x depth) and b (depth x points) to those of all algorithms."""

    points: int
    """Columns of b."""
    columns: int
    """Bytes from the packed weight to b, if it is gathered."""
    pack_tasks: int
    """Number of the weight's panels that are packed; 0 if it is read in place."""
    columns_first: int
    """1 if tasks in a row have the same columns, 0 if they have the same rows."""
    piece: int
    """Number of channels that a task gathers."""
    span: int
    """Number of vectors of pixels that a task gathers."""
    alone: int
    """1 if the column after the last tile is computed alone."""
    dots: int
    """Address of a table of kernels for that column."""
    panel_step: int
    """Elements between blocks of tile_rows rows of a."""
    width: int
    """Elements between rows of b."""
    row_step: int
    """Elements between rows of a."""
    depth_step: int
    """Elements between columns of a."""
    block_rows: int
    """Lattice rows of a block of a weight gradient, for which the source is transposed together."""
    image_blocks: int
    """Number of such blocks in an image."""
    first_y: int
    """Row of the first tap, for the first lattice row."""
    reach: int
    """Distance from the first to the last row of taps."""
    plain: int
    """1 if each lattice point of a weight gradient reads the one pixel at its own place."""
    by_rows: int
    """1 if a task goes along a row of tiles before it goes to the next one, 0 if it goes down a column of them."""
