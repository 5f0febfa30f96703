"""The task of an expanded depthwise convolution: a strip of rows, for some panels of channels.

    for panels of MR channels
        for tiles of the strip's pixels      one micro-kernel call: MR rows of the expanded image, in the workspace
        for the panel's channels
            the depthwise convolution's rows, read from the workspace

The strips of neighbours share the rows under the taps at their edges, which both make.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.depthwise.forward import convolve_plane, ready_for_planes
from fastconv.backends.numba_cpu.fused.network.expanded.arguments import ExpandedArguments
from fastconv.backends.numba_cpu.simd import call, load_integer
from fastconv.backends.numba_cpu.simd.task import task


@task(ExpandedArguments)
def convolve(simd, args, task, thread):
    """Compute a strip of an image's rows for some channels."""
    rest, panel_block = divmod(task, args.panel_blocks)
    n, block = divmod(rest, args.blocks)
    tile_rows, channels = args.tile_rows, args.groups
    first_row, end_row = block * args.block_rows, min(args.I, (block + 1) * args.block_rows)
    # The rows of the expanded image under the taps.
    top = max(0, first_row * args.DI + load_integer(args.tap_offsets, 0))
    bottom = min(args.H, (end_row - 1) * args.DI + load_integer(args.tap_offsets, args.tap_rows - 1) + 1)
    own = args.workspace + thread * args.thread_bytes
    ready, expanded = ready_for_planes(simd, args, own), own + args.expanded
    first_panel = panel_block * args.block_panels
    for panel in range(first_panel, min((channels + tile_rows - 1) // tile_rows, first_panel + args.block_panels)):
        first = panel * tile_rows
        count = min(tile_rows, channels - first)
        if top < bottom:
            _expand(simd, args, n, first, count, top * args.W, bottom * args.W, expanded)
        for m in range(count):
            # The address that row 0 would have.
            source = expanded + simd.itemsize * (m * args.pitch - top * args.W)
            convolve_plane(simd, args, source, n, first + m, 0, first_row, end_row, ready)


@inner
def _expand(simd, args, n, first, count, begin, end, expanded):
    """Compute ``count`` channels of the expanded image from ``first`` on, at pixels ``begin`` up to ``end``."""
    size, lanes, depth, plane = simd.itemsize, simd.lanes, args.image_channels, args.H * args.W
    vectors, pitch = args.tile_vectors, args.pitch
    pixels = args.images + size * n * depth * plane
    a = args.expansion + size * first * depth
    bias = args.expansion_bias + size * first if args.expansion_bias != 0 else 0
    kernels = args.expanding + (0 if count == args.tile_rows else 8 * (vectors + 1))
    for j in range(begin, end, vectors * lanes):
        there = min(vectors * lanes, end - j)
        here = (there + lanes - 1) // lanes
        kernel = load_integer(kernels, 0 if there == vectors * lanes else here)
        b, c = pixels + size * j, expanded + size * (j - begin)
        rest = there - (here - 1) * lanes
        call(kernel, (depth, a, depth, 1, b, plane, rest, c, pitch, bias, 0, args.expansion_limits))
    if args.expansion_activation != 0:
        call(args.expansion_activation, (expanded, end - begin, count, pitch))
