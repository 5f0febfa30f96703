"""This file computes the input gradient through max pooling from the argmax of each window alone: see argmax.py.

    pack the weight                          tap by tap, source channels in the lanes
    for an image, for some vectors of source channels
        clear their planes
        for blocks of target channels
            list their argmax pixels
            for vectors of source channels   the plane stays in the L1 cache
                for target channels          one kernel call, with the weight in registers
        write the planes

Every pixel's sum has the same terms in the same order for any number of threads. A weight that isn't finite would
make NaN of the zeros that are left out here, so a task that sees one sets the argument ``infinite``.
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.conv.image_lanes.interleave import clear
from fastconv.backends.numba_cpu.fused.sparse_grad.arguments import ArgmaxArguments
from fastconv.backends.numba_cpu.fused.sparse_grad.channel_planes import write_plane
from fastconv.backends.numba_cpu.fused.sparse_grad.listing import (
    list_argmax,
    list_bytes,
    list_step,
    places_of,
)
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


def plane_numbers(simd: Simd, cut: ArgmaxTiling) -> int:
    """Return the elements of a plane, with those that are read beyond it."""
    return (cut.plane_rows * cut.plane_w + simd.lanes) * simd.lanes


def workspace_bytes(simd: Simd, p: Problem, cut: ArgmaxTiling) -> int:
    """Return the workspace of a thread, in bytes: the planes, and the lists of a block of channels."""
    lists = cut.channels * (list_bytes(simd, cut.block_rows * (p.lattice[1] // 2)) + 8)
    return (cut.task_groups * plane_numbers(simd, cut) + simd.lanes) * simd.itemsize + lists + 64


@task(ArgmaxArguments)
def pack(simd, args, k, thread):
    """Pack the weights of target channel ``k``, tap by tap, as vectors of source channels."""
    depth, taps = args.depth, args.tap_count
    groups = args.channel_groups
    source = args.weight + simd.itemsize * k * depth * taps
    panel = args.panels + simd.itemsize * k * groups * taps * simd.lanes
    for group in range(groups):
        there = min(simd.lanes, depth - group * simd.lanes)
        for t in range(taps):
            at = (group * taps + t) * simd.lanes
            for lane in range(there):
                store_scalar(simd, panel, at + lane, load_scalar(simd, source, (group * simd.lanes + lane) * taps + t))
            for lane in range(there, simd.lanes):
                store_scalar(simd, panel, at + lane, zero(simd))
    if not is_finite(simd, source, depth * taps):
        args.infinite = 1


@task(ArgmaxArguments)
def distribute(simd, args, task, thread):
    """Compute the input gradient of one image, for the groups of source channels of one task."""
    size, lanes = simd.itemsize, simd.lanes
    task_groups = args.task_groups
    groups = args.channel_groups
    n, block = divmod(task, (groups + task_groups - 1) // task_groups)
    first_group = block * task_groups
    here = min(groups, first_group + task_groups) - first_group
    channels, together = args.rows, args.block_channels
    pixels = (args.I // 2) * (args.J // 2)
    patch_rows, tile_rows = args.patch_rows, args.tile_rows
    row_numbers = args.patch_vectors * lanes
    step, kernels, plane = args.row_step, args.kernel, args.pixel_numbers

    planes = args.workspace + thread * args.thread_bytes
    lists = (planes + size * task_groups * plane + 63) // 64 * 64
    step_to_list = list_step(simd, args)
    counts = lists + together * step_to_list
    unused = counts + 8 * together
    store(simd, unused, 0, zeros(simd))
    clear(simd, planes, here * (plane // lanes))
    for first in range(0, channels, together):
        count = min(together, channels - first)
        for k in range(count):
            window = (n * channels + first + k) * pixels
            store_integer(counts, k, list_argmax(simd, args, window, pixels, 0, lists + k * step_to_list, unused))
        for group in range(here):
            for k in range(count):
                numbers = lists + k * step_to_list
                listed, places = load_integer(counts, k), places_of(simd, args, numbers)
                for r in range(0, patch_rows, tile_rows):
                    kernel = load_integer(kernels, 0 if r + tile_rows <= patch_rows else 1)
                    row = ((first + k) * groups + first_group + group) * patch_rows + r
                    weights = args.panels + size * row * row_numbers
                    corner = planes + size * (group * plane + r * step)
                    call(kernel, (listed, numbers, places, corner, step, weights))
    for group in range(here):
        write_plane(simd, args, n, (first_group + group) * lanes, planes + size * group * plane)
