"""This file lists the arguments of the tasks that compute gradients through max pooling from its argmax alone."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class ArgmaxArguments(ConvArguments):
    """Lists a convolution's arguments, and besides them the pooling's indices and how patches of pixels lie in memory.

    ``grad`` is the gradient of the pooled results, (N, rows, I / 2, J / 2).
    """

    results: int
    """Address of the pooled results, in the shape of ``grad``; 0 where ReLU's derivative isn't to be applied."""
    bias_grad: int
    """Address of the bias gradient's parts, a row of channels for each part of the batch; 0 if it isn't wanted."""
    indices: int
    """Address of the indices that pooling kept, in the shape of ``grad``."""
    places: int
    """Address of a table: for each pixel, the elements from the first pixel's patch to its own."""
    windows: int
    """Address of a table of 32-bit integers: the first pixel of each 2 x 2 window of a block, then their patches."""
    sums: int
    """Address of a table: for each number of the weight gradient, its place among a channel's sums."""
    tap_offsets: int
    """Address of a table: dy of each row of taps, then dx of each column."""
    tap_rows: int
    tap_columns: int
    top: int
    """The least dy of all taps."""
    left: int
    """The least dx of all taps."""
    reach: int
    """The largest dy less the least, in pixels."""
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
    """Rows of pooled pixels in a block, whose argmax pixels are listed together."""
    block_channels: int
    """Target channels in a block, whose argmax pixels are listed together."""
    channel_blocks: int
    """Number of such blocks of target channels."""
    channel_groups: int
    """Groups of source channels, each as many as a vector has lanes; strips hold all channels in one group."""
    task_groups: int
    """Groups of source channels in a task."""
