"""This file computes the weight gradient through max pooling from the argmax of each window alone: see argmax.py.

Short patches, as those of a first layer, lie in strips (strips.py), which hold all channels. Longer patches lie in
planes with channels in the lanes (channel_planes.py), one plane for each vector of channels.

    for images of a part
        for blocks of rows of pooled pixels
            list the argmax pixels of all target channels    gradient and indices are read once, in order
            for vectors of source channels
                make the strips, or the plane                they stay in the L1 cache
                for target channels                          one kernel call, added to the channel's sums

A task does a part of the batch and a block of target channels. The parts are added in order, so the result has the same
bits for any number of threads. A pixel that isn't finite would make NaN of the zeros that are left out here, so a task
that sees one sets the argument ``infinite``.

The bias gradient comes along, in parts too: the listing adds the gradients of a target channel to the lanes of a
vector.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.fused.sparse_grad.arguments import ArgmaxArguments
from fastconv.backends.numba_cpu.fused.sparse_grad.channel_planes import fill_plane
from fastconv.backends.numba_cpu.fused.sparse_grad.listing import (
    list_argmax,
    list_bytes,
    list_step,
    places_of,
)
from fastconv.backends.numba_cpu.fused.sparse_grad.strips import fill_strip, strip_numbers
from fastconv.backends.numba_cpu.fused.sparse_grad.tiling import ArgmaxTiling
from fastconv.backends.numba_cpu.gemm.packing import is_finite
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
    load_integer,
    load_scalar,
    store,
    store_integer,
    store_scalar,
    zero,
    zeros,
)
from fastconv.backends.numba_cpu.simd.task import task


def pixel_numbers(simd: Simd, p: Problem, cut: ArgmaxTiling) -> int:
    """Return the elements of a block's strips, or of its plane, with those that are read and written beyond them."""
    if not cut.plane_w:
        return 2 * cut.block_rows * strip_numbers(simd, p) + cut.columns * simd.lanes
    rows = (2 * cut.block_rows - 1) * p.source_step[0] + p.grid[0][-1] - p.grid[0][0] + 1
    return (rows * cut.plane_w + simd.lanes) * simd.lanes


def workspace_bytes(simd: Simd, p: Problem, cut: ArgmaxTiling) -> int:
    """Return the workspace of a thread, in bytes: a block's pixels, a block of channels' sums, and their lists."""
    sums = cut.channels * cut.groups * cut.vectors * simd.lanes
    lists = cut.channels * (list_bytes(simd, cut.block_rows * (p.lattice[1] // 2)) + 8)
    of_biases = cut.channels * simd.lanes
    return (pixel_numbers(simd, p, cut) + sums + of_biases) * simd.itemsize + lists + 64


def places(simd: Simd, p: Problem, cut: ArgmaxTiling) -> np.ndarray:
    """Return where the patch of each pixel of a block of rows begins, in elements from the block's first patch.

    Pixels are numbered as pooling's indices number them, from the block's first pixel on.
    """
    rows, columns = np.divmod(np.arange(2 * cut.block_rows * p.lattice[1]), p.lattice[1])
    if cut.plane_w:
        return (rows * p.source_step[0] * cut.plane_w + columns * p.source_step[1]) * simd.lanes
    return rows * strip_numbers(simd, p) + columns * p.source_step[1] * p.channels * len(p.grid[0])


def sums(simd: Simd, p: Problem, cut: ArgmaxTiling) -> np.ndarray:
    """Return, for each number of a target channel's weight gradient in order, its place among the channel's sums."""
    R, S = map(len, p.grid)
    c, r, s = np.ix_(range(p.channels), range(R), range(S))
    if cut.plane_w:
        group, lane = np.divmod(c, simd.lanes)
        found = ((group * R + r) * S + s) * simd.lanes + lane
    else:
        found = (s * p.channels + c) * R + r
    return found.reshape(-1)


@inner
def _fill(simd, args, n, group, row, rows, pixels):
    """Fill the strips of ``rows`` rows of pooled pixels from ``row`` on, or else the plane of a group of channels."""
    down = args.DI
    if args.plane_w == 0:
        for i in range(2 * rows):
            fill_strip(simd, args, n, 2 * row + i, pixels + simd.itemsize * i * args.strip, i > 0)
    else:
        top = 2 * row * down + args.top
        needed = (2 * rows - 1) * down + args.reach + 1
        fill_plane(simd, args, n, group * simd.lanes, top, needed, pixels)


@task(ArgmaxArguments)
def accumulate(simd, args, task, thread):
    """Compute the weight gradient of one part of the batch, for one block of target channels."""
    size, lanes = simd.itemsize, simd.lanes
    part, block = divmod(task, args.channel_blocks)
    depth, channels = args.depth, args.rows
    first_channel = block * args.block_channels
    count = min(channels, first_channel + args.block_channels) - first_channel
    pooled_rows, pooled_columns, block_rows = args.I // 2, args.J // 2, args.block_rows
    patch_rows, tile_rows = args.patch_rows, args.tile_rows
    row_numbers = args.patch_vectors * lanes
    groups, step = args.channel_groups, args.row_step
    channel_sums = groups * patch_rows * row_numbers
    kernels = args.kernel

    pixels = args.workspace + thread * args.thread_bytes
    sums = pixels + size * args.pixel_numbers
    bias_sums = sums + size * args.block_channels * channel_sums
    lists = (bias_sums + size * args.block_channels * lanes + 63) // 64 * 64
    step_to_list = list_step(simd, args)
    counts = lists + count * step_to_list
    image = depth * args.H * args.W
    for i in range(0, args.block_channels * (channel_sums + lanes), lanes):
        store(simd, sums, i, zeros(simd))
    first = part * args.split_steps
    for n in range(first, min(args.N, first + args.split_steps)):
        if block == 0 and not is_finite(simd, args.source + size * n * image, image):
            args.infinite = 1
        for row in range(0, pooled_rows, block_rows):
            rows = min(block_rows, pooled_rows - row)
            for k in range(count):
                window = ((n * channels + first_channel + k) * pooled_rows + row) * pooled_columns
                numbers, total = lists + k * step_to_list, bias_sums + size * k * lanes
                listed = list_argmax(simd, args, window, rows * pooled_columns, 2 * row * args.J, numbers, total)
                store_integer(counts, k, listed)
            for group in range(groups):
                _fill(simd, args, n, group, row, rows, pixels)
                for k in range(count):
                    numbers = lists + k * step_to_list
                    listed, places = load_integer(counts, k), places_of(simd, args, numbers)
                    for r in range(0, patch_rows, tile_rows):
                        kernel = load_integer(kernels, 0 if r + tile_rows <= patch_rows else 1)
                        target = sums + size * (k * channel_sums + (group * patch_rows + r) * row_numbers)
                        call(kernel, (listed, numbers, places, pixels + size * r * step, step, target))
    for k in range(count):
        _write(simd, args, part, first_channel + k, sums + size * k * channel_sums, bias_sums + size * k * lanes)


@inner
def _write(simd, args, part, k, sums, bias_sums):
    """Write a part's weight gradient of target channel ``k``, and its bias gradient if that is wanted."""
    numbers = args.depth * args.tap_count
    target = args.target
    if args.splits > 1:
        target = args.partial + simd.itemsize * part * args.rows * numbers
    goes = args.sums
    for i in range(numbers):
        store_scalar(simd, target, k * numbers + i, load_scalar(simd, sums, load_integer(goes, i)))
    if args.bias_grad:
        total = zero(simd)
        for lane in range(simd.lanes):
            total += load_scalar(simd, bias_sums, lane)
        store_scalar(simd, args.bias_grad, part * args.rows + k, total)
