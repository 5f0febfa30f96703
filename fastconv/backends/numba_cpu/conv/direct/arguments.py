"""The arguments of a direct convolution, and of its weight gradient."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class DirectArguments(ConvArguments):
    """How the planes are laid out that a task copies, besides what all algorithms need."""

    first_y: int
    """Source row, in steps, that the first tap reads for lattice row 0."""
    first_x: int
    """Source column, in steps, that it reads for lattice column 0."""
    offsets: int
    """Address of where row k of the reduction is in the planes."""
    phases: int
    """Address of the phases, each a row and a column below the source's steps."""
    phase_count: int
    plane_rows: int
    """Rows of a plane."""
    plane_w: int
    """Columns of a plane."""
    channel: int
    """Elements of all planes of a source channel."""
    block_rows: int
    """Lattice rows in a block."""
    pieces: int
    """Rows of the target that a vector may touch."""
