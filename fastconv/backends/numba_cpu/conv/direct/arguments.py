"""This module declares the arguments of a direct convolution and of its weight gradient."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class DirectArguments(ConvArguments):
    """These arguments add the layout of the planes that a task copies to the arguments of all algorithms."""

    first_y: int
    """Source row that the first tap reads for lattice row 0, in steps of the stride."""
    first_x: int
    """Source column that the first tap reads for lattice column 0, in steps of the stride."""
    offsets: int
    """Address of the offset in the planes, in elements, of each row k of the reduction."""
    phases: int
    """Address of the phases, each a row and a column that are less than the source's steps."""
    phase_count: int
    plane_rows: int
    """Number of rows of a plane."""
    plane_w: int
    """Number of columns of a plane."""
    channel: int
    """Size of all planes of a source channel, in elements."""
    block_rows: int
    """Number of lattice rows in a block."""
    pieces: int
    """Largest number of rows of the target that a vector is written to."""
