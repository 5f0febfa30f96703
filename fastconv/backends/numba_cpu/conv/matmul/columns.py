"""Where the pixels of a batch are few, they are gathered once into a matrix, which all target channels then read.

    b[k, u]  =  source pixel under tap t of channel d at lattice point u,       k = (d, t), u = (n, i, j)

Each task of conv/implicit_gemm gathers the pixels that it needs. If these are few, tasks differ in their target
channels, and each would gather all pixels: for 256 channels to 512 on 14 x 14 pixels with a stride of 2, 15 tasks spent
380 us on it, where the products take 440. And to pack the weight, for a few vectors of pixels only, took 190 us. So the
weight is read in place, as in kernel.py, if its steps (d, t) lie in order or if there is one tap; else it is packed in
panels. Pixels of several images lie side by side: 8 images of 7 x 7 fill 98% of the vectors.

    prepare              pack panels of the weight, if needed; gather some channels for all pixels
    multiply_columns     a block of columns by a block of rows, in one group:
        for KC steps
            for tiles of columns
                for tiles of rows        one micro-kernel call

A tile whose pixels are in several images, or have a stride in the target, is written by way of the workspace.
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.conv.implicit_gemm.forward import deliver
from fastconv.backends.numba_cpu.conv.implicit_gemm.gather import INSIDE_WORDS, RUN_WORDS, gather
from fastconv.backends.numba_cpu.conv.matmul.arguments import MatrixArguments
from fastconv.backends.numba_cpu.gemm.packing import pack_panel_of
from fastconv.backends.numba_cpu.gemm.tile_emitter import ACCUMULATE
from fastconv.backends.numba_cpu.simd import Simd, call, load_integer
from fastconv.backends.numba_cpu.simd.task import task


def workspace_bytes(simd: Simd, tile_rows: int, tile_vectors: int) -> int:
    """Return the size of a thread's workspace, in bytes: one tile, or the runs of a gathered vector."""
    tile = tile_rows * tile_vectors * simd.lanes * simd.itemsize
    return max(tile, 8 * (RUN_WORDS + INSIDE_WORDS) * simd.lanes)


@task(MatrixArguments)
def prepare(simd, args, task, thread):
    """Pack a panel of the weight, or gather all pixels of some channels of a group."""
    if task < args.pack_tasks:
        pack_panel_of(simd, args, task)
        return
    pieces = (args.depth + args.piece - 1) // args.piece
    group, piece = divmod(task - args.pack_tasks, pieces)
    taps, width, points = args.tap_count, args.width, args.points
    first = piece * args.piece * taps
    end = min(args.depth * taps, first + args.piece * taps)
    runs = args.workspace + thread * args.thread_bytes
    target = args.panels + args.columns + simd.itemsize * (group * args.depth * taps + first) * width
    for u in range(0, points, simd.lanes):
        place, count = target + simd.itemsize * u, min(simd.lanes, points - u)
        gather(simd, args, args.taps, taps, group, u, count, first, end, place, width, runs)


@task(MatrixArguments)
def multiply_columns(simd, args, task, thread):
    """Compute a block of one group's target channels for a block of the batch's pixels."""
    group, rest_of_task = divmod(task, args.blocks * args.panel_blocks)
    panel_block, block = divmod(rest_of_task, args.blocks)
    rows, columns, depth = args.rows, args.points, args.depth * args.tap_count
    tile_rows, tile_width = args.tile_rows, args.tile_vectors * simd.lanes
    first_row = panel_block * args.block_panels * tile_rows
    end_row = min(rows, first_row + args.block_panels * tile_rows)
    first_column = block * args.block_tiles * tile_width
    end_column = min(columns, first_column + args.block_tiles * tile_width)
    steps, kernels, size, width = args.steps, args.kernel, simd.itemsize, args.width
    in_image, plane = args.I * args.J, args.target_h * args.target_w
    row_step, depth_step, panel_step = args.row_step, args.depth_step, args.panel_step
    left = args.panels + size * group * ((rows + tile_rows - 1) // tile_rows) * panel_step
    if args.pack_tasks == 0:
        left = args.weight + size * (group * args.weight_group + load_integer(args.taps, 2))
    right = args.panels + args.columns + size * group * depth * width
    scratch = args.workspace + thread * args.thread_bytes
    for k in range(0, depth, steps):
        here = min(steps, depth - k)
        start = ACCUMULATE if k > 0 else 0
        limits = args.limits + 2 * size if k + here == depth else args.limits
        for j in range(first_column, end_column, tile_width):
            there = min(tile_width, columns - j)
            rest = there - (there - 1) // simd.lanes * simd.lanes
            n, inside = divmod(j, in_image)
            dense = plane == in_image and inside + there <= in_image
            b = right + size * (k * width + j)
            for i in range(first_row, end_row, tile_rows):
                kernel = load_integer(kernels, (2 if i + tile_rows > rows else 0) + (1 if there < tile_width else 0))
                a = left + size * (i // tile_rows * panel_step + k * depth_step)
                row = group * rows + i
                bias = args.bias + size * row if args.bias != 0 else 0
                if dense:
                    c = args.target + size * ((n * args.groups * rows + row) * plane + inside)
                    call(kernel, (here, a, row_step, depth_step, b, width, rest, c, plane, bias, start, limits))
                else:
                    some = here, a, row_step, depth_step, b, width, rest, scratch, tile_width, 0, 0, args.limits
                    call(kernel, some)
                    valid = min(tile_rows, end_row - i)
                    deliver(simd, args, row, valid, j, there, scratch, tile_width, bias, start, limits)
