"""The arguments of gradients through max pooling from its winners alone."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class ArgmaxArguments(ConvArguments):
    """What pooling left, and how patches of pixels lie in memory, besides what convolutions need.

    ``grad`` is that of the pooled results, (N, rows, I / 2, J / 2).
    """

    indices: int
    """Address of the indices that pooling kept, in the shape of ``grad``."""
    places: int
    """Address of where each pixel's patch begins, counted from the first one's."""
    sums: int
    """Address of where each number of the weight's gradient is among a channel's sums."""
    tap_offsets: int
    """Address of dy of each row of taps, then of dx of each column."""
    tap_rows: int
    tap_columns: int
    top: int
    """The least dy of all taps."""
    left: int
    """The least dx of all taps."""
    reach: int
    """By how much the largest dy exceeds the least."""
    patch_rows: int
    """Rows of a patch."""
    patch_vectors: int
    """Vectors in a row of a patch."""
    row_step: int
    """Elements from one row of a patch to the next."""
    strip: int
    """Elements of a strip."""
    plane_w: int
    """Columns of a plane with channels in the lanes; 0 where there are strips."""
    pixel_numbers: int
    """Elements of a block's pixels, in strips or a plane."""
    block_rows: int
    """Rows of pooled pixels together."""
    block_channels: int
    """Target channels whose winners are listed together."""
    channel_blocks: int
    """Blocks of them."""
    channel_groups: int
    """Groups of source channels, each a vector's lanes, or all in strips."""
    task_groups: int
    """Groups of them that one task does."""
