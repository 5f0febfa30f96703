"""Small planes are convolved a vector of them at a time, a plane to a lane.

A row of 7 pixels fills less than half of a vector's 16 lanes, and each of its taps is a load with a mask. Here as many
planes as a vector has lanes are transposed into the L1 cache, where a pixel is the vector of its values in all of them,
and so is a tap of their kernels (row.py). Each multiply-add reads a whole vector, wherever it lies, and taps that meet
padding are left out. The results are transposed on their way to the target, after bias, limits and activation.

Planes of 7 x 7 pixels take 87 instead of 246 cycles each with 5 x 5 taps, and 75 instead of 123 with 3 x 3 (8 images
with 1152 and 960 channels, Emerald Rapids). Transposing takes 10 cycles for 16 pixels of a plane, in and out, so that
rows of 14 pixels are not faster this way.

Whole vectors of planes and of pixels are read and written, of which the last ends with the last plane, or pixel: some
planes, or pixels, may be computed twice. A task takes some channels of some images:

    for vectors of channels
        transpose their kernels
        for images
            transpose the planes
            for rows of results               one kernel call
            activate the results, and transpose them
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.plane_lanes.arguments import PlaneLanesArguments
from fastconv.backends.numba_cpu.gemm.packing import is_finite
from fastconv.backends.numba_cpu.simd import Simd, call, load, load_integer, store, transpose, zeros
from fastconv.backends.numba_cpu.simd.task import task


def workspace_bytes(simd: Simd, source_plane: int, target_plane: int, taps: int, weight_group: int) -> int:
    """Return the bytes of a thread's workspace: transposed planes, results, zeros, and kernels in three orders."""
    kernels = 1 + taps + weight_group + 1 + -(-weight_group // simd.lanes) * simd.lanes
    return 64 + simd.itemsize * simd.lanes * (source_plane + target_plane + kernels)


@inner
def _to_lanes(simd, planes, pixels, target):
    """Transpose a vector of planes of ``pixels`` pixels, at least a vector of them."""
    for first in range(0, pixels, simd.lanes):
        at = min(first, pixels - simd.lanes)
        there = target + simd.itemsize * at * simd.lanes
        transpose(simd, planes + simd.itemsize * at, pixels, simd.lanes, there, simd.lanes)


@inner
def _to_planes(simd, results, pixels, target):
    """Transpose the results back to planes of ``pixels`` pixels, at least a vector of them."""
    for first in range(0, pixels, simd.lanes):
        at = min(first, pixels - simd.lanes)
        there = target + simd.itemsize * at
        transpose(simd, results + simd.itemsize * at * simd.lanes, simd.lanes, simd.lanes, there, pixels)


@inner
def _transpose_kernels(simd, args, channel, target):
    """Transpose the kernels of a vector of planes from ``channel`` on, with the taps in order.

    An infinite weight times padding is NaN: the fallback computes that.
    """
    group, taps, lanes = args.weight_group, args.tap_count, simd.lanes
    # A copy may be read beyond its end.
    copy = target + simd.itemsize * lanes * taps
    turned = copy + simd.itemsize * lanes * (group + 1)
    for i in range(group):
        store(simd, copy, i * lanes, load(simd, args.weight, channel * group + i * lanes))
    if not is_finite(simd, copy, lanes * group):
        args.infinite = 1
    for first in range(0, group, lanes):
        transpose(simd, copy + simd.itemsize * first, group, lanes, turned + simd.itemsize * first * lanes, lanes)
    for t in range(taps):
        store(simd, target, t * lanes, load(simd, turned, load_integer(args.taps, 3 * t + 2) * lanes))


@inner
def _convolve_planes(simd, args, planes, weights, bias, target):
    """Convolve transposed planes; the results are a row of them for each lattice row."""
    rows, columns, vector = args.tap_rows, args.tap_columns, simd.itemsize * simd.lanes
    for i in range(args.I):
        y = i * args.DI
        begin, end = 0, rows
        while begin < rows and y + load_integer(args.tap_offsets, begin) < 0:
            begin += 1
        while end > begin and y + load_integer(args.tap_offsets, end - 1) >= args.H:
            end -= 1
        kernel, dy = weights + vector * columns * begin, args.tap_offsets + 8 * begin
        limits = args.limits + 2 * simd.itemsize
        there = target + vector * args.J * i
        call(args.kernel, (planes, kernel, y, dy, end - begin, bias, limits, there))


@task(PlaneLanesArguments)
def convolve(simd, args, task, thread):
    """Convolve some vectors of planes in some images."""
    groups, lanes, size = args.groups, simd.lanes, simd.itemsize
    source_plane, target_plane = args.H * args.W, args.I * args.J
    block, part = divmod(task, (groups + args.task_planes - 1) // args.task_planes)
    planes = (args.workspace + thread * args.thread_bytes + 63) // 64 * 64
    results = planes + size * lanes * source_plane
    no_bias = results + size * lanes * target_plane
    weights = no_bias + size * lanes
    store(simd, no_bias, 0, zeros(simd))
    end = min(groups, (part + 1) * args.task_planes)
    for first in range(part * args.task_planes, end, lanes):
        channel = min(first, groups - lanes)
        _transpose_kernels(simd, args, channel, weights)
        bias = args.bias + size * channel if args.bias != 0 else no_bias
        for n in range(block * args.task_images, min(args.N, (block + 1) * args.task_images)):
            source = args.source + size * (n * groups + channel) * source_plane
            target = args.target + size * (n * args.target_channels + channel) * target_plane
            _to_lanes(simd, source, source_plane, planes)
            _convolve_planes(simd, args, planes, weights, bias, results)
            if args.activation != 0:
                count = lanes * target_plane
                call(args.activation, (results, count, 1, count))
            _to_planes(simd, results, target_plane, target)
