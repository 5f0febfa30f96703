"""`ChannelsArguments` are the arguments of a convolution with target channels in the lanes."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class ChannelsArguments(ConvArguments):
    """These arguments add the layout of transposed pixels, and the runs of taps, to those of all algorithms."""

    runs: int
    """Address of the table of runs of taps that lie side by side: `RUN_WORDS` integers each, see forward.py."""
    run_count: int
    """Number of runs."""
    tile_pixels: int
    """Rows of a tile: pixels. Its columns, target channels, are the rows of a packed panel."""
    channels: int
    """Source channels that are transposed, and multiplied, at a time."""
    block_rows: int
    """Lattice rows of a task, for which the source is transposed together."""
    skip: int
    """Source rows from one that is transposed to the next: more than 1 only if the kernel has a single row."""
    top: int
    """Row of the first tap, for the first lattice row."""
    reach: int
    """Distance from the first to the last row of taps."""
    left: int
    """First column of the transposed rows."""
    wide: int
    """Columns of transposed rows, those in the padding too."""
