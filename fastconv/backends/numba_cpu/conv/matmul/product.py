"""A convolution is a product of the weight by the pixels, of each image in place or gathered from all images.

Images that are read in place are 1 x 1 convolutions' (see kernel.py). Where the pixels of a batch are few, they are
gathered once into a matrix, which all target channels then read:

    b[k, u]  =  source pixel under tap t of channel d at lattice point u,       k = (d, t), u = (n, i, j)

Each task of conv/implicit_gemm gathers the pixels that it needs. If these are few, tasks differ in their target
channels, and each would gather all pixels: for 256 channels to 512 on 14 x 14 pixels with a stride of 2, 15 tasks spent
380 us on it, where the products take 440. And to pack the weight, for a few vectors of pixels only, took 190 us. So the
weight is read in place, as in kernel.py, if its steps (d, t) lie in order or if there is one tap; else it is packed in
panels. Pixels of several images lie side by side: 8 images of 7 x 7 fill 98% of the vectors.

    prepare              pack panels of the weight, if needed; gather some channels of some pixels
    convolve             a block of columns by a block of rows, in one group:
        for KC steps
            for tiles of columns
                for tiles of rows        one micro-kernel call

If the last vector would hold a single pixel, as for 7 x 7, that pixel's results are dot products along the weight's
rows. A tile whose pixels are in several images, or have a stride in the target, is written by way of the workspace.

A residual is added in the micro-kernel's epilogue. An activation that is more than limits is applied to a row of tiles,
or at the end of a task, to numbers that are in its core's cache. As a job of its own, which is cut another way, this
pass takes half of the numbers from the other core, and so does the job behind it.

The order of tiles is a question of memory. Along the rows, a tile continues its rows of the target and of the
residual, which the processor foresees and reads ahead: with 64 channels to 256 on 56 x 56 pixels, 8 images take 3.1 ms
so instead of 3.6, and 3.2 instead of 4.6 with a residual (Emerald Rapids, two threads). But then the block's columns
are read again for each row of tiles, so they must fit into the L2 cache.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.implicit_gemm.forward import activate, deliver
from fastconv.backends.numba_cpu.conv.implicit_gemm.gather import INSIDE_WORDS, RUN_WORDS, gather
from fastconv.backends.numba_cpu.conv.matmul.arguments import MatrixArguments
from fastconv.backends.numba_cpu.conv.matmul.tiling import LAST_ROWS, MatrixTiling
from fastconv.backends.numba_cpu.gemm.packing import pack_panel_of
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
    load_integer,
    load_scalar,
    store_integer,
    store_scalar,
    zero,
)
from fastconv.backends.numba_cpu.simd.task import task


def workspace_bytes(simd: Simd, cut: MatrixTiling, depth: int) -> int:
    """Return the size of a thread's workspace, in bytes: a tile, or the runs of a vector, or the last column."""
    tile = cut.tile_rows * cut.tile_vectors * simd.lanes * simd.itemsize
    last = 64 + simd.itemsize * (depth + cut.block_panels * cut.tile_rows)
    return max(tile, 8 * (RUN_WORDS + INSIDE_WORDS) * simd.lanes, last)


@task(MatrixArguments)
def prepare(simd, args, task, thread):
    """Pack a panel of the weight, or gather some pixels of some channels of a group."""
    if task < args.pack_tasks:
        pack_panel_of(simd, args, task)
        return
    pieces = (args.depth + args.piece - 1) // args.piece
    taps, width, points = args.tap_count, args.width, args.N * args.I * args.J
    span = args.span * simd.lanes
    spans = (points + span - 1) // span
    group, part = divmod(task - args.pack_tasks, pieces * spans)
    piece, part = divmod(part, spans)
    first = piece * args.piece * taps
    end = min(args.depth * taps, first + args.piece * taps)
    runs = args.workspace + thread * args.thread_bytes
    target = args.panels + args.columns + simd.itemsize * (group * args.depth * taps + first) * width
    for u in range(part * span, min(points, part * span + span), simd.lanes):
        place, count = target + simd.itemsize * u, min(simd.lanes, points - u)
        gather(simd, args, args.taps, taps, group, u, count, first, end, place, width, runs)


@task(MatrixArguments)
def convolve(simd, args, task, thread):
    """Compute a block of one group's target channels for a block of an image's pixels, or of all gathered pixels."""
    plane, rest_of_task = divmod(task, args.blocks * args.panel_blocks)
    image, group = divmod(plane, args.groups)
    panel_block, block = _block_of(args, rest_of_task)
    tile_rows, tile_width, size = args.tile_rows, args.tile_vectors * simd.lanes, simd.itemsize
    first_panel = panel_block * args.block_panels
    first_row, end_row = first_panel * tile_rows, min(args.rows, (first_panel + args.block_panels) * tile_rows)
    first_column = block * args.block_tiles * tile_width
    end_column = args.points if block + 1 == args.blocks else first_column + args.block_tiles * tile_width
    left, right = _operands(simd, args, plane, group)
    scratch = args.workspace + thread * args.thread_bytes
    panels = (end_row - first_row + tile_rows - 1) // tile_rows
    columns = (end_column - first_column + tile_width - 1) // tile_width
    depth, chunk, by_rows = args.depth * args.tap_count, args.split_steps, args.by_rows != 0
    first, end = image * args.I * args.J + first_column, image * args.I * args.J + end_column
    outer, inner = (panels, columns) if by_rows else (columns, panels)
    for number in range((depth + chunk - 1) // chunk * outer):
        part, one = divmod(number, outer)
        steps = part * chunk, min(depth, part * chunk + chunk)
        for other in range(inner):
            panel, column = (one, other) if by_rows else (other, one)
            place = first_column + column * tile_width
            _multiply_tile(simd, args, image, group, first_panel + panel, end_row, place, steps, left, right, scratch)
        if args.activation != 0 and by_rows and steps[1] == depth:
            row = first_row + one * tile_rows
            activate(simd, args, group * args.rows + row, min(tile_rows, end_row - row), first, end)
    if args.alone != 0 and block + 1 == args.blocks:
        _multiply_last(simd, args, group, first_row, end_row, end, left, right + size * args.points, scratch)
        end += 1
    if args.activation != 0 and not by_rows:
        activate(simd, args, group * args.rows + first_row, end_row - first_row, first, end)


@inner
def _multiply_tile(simd, args, image, group, panel, end_row, column, part, left, right, scratch):
    """Add the products of steps ``part`` to the tile of a panel of rows and of the columns from ``column`` on."""
    rows, columns, width, size = args.rows, args.points, args.width, simd.itemsize
    tile_rows, tile_width, steps = args.tile_rows, args.tile_vectors * simd.lanes, args.steps
    in_image, plane = args.I * args.J, args.target_h * args.target_w
    row_step, depth_step, (k, end) = args.row_step, args.depth_step, part
    i, there = panel * tile_rows, min(tile_width, columns - column)
    rest = there - (there - 1) // simd.lanes * simd.lanes
    n, inside = divmod(column, in_image) if args.piece != 0 else (image, column)
    a = left + size * (panel * args.panel_step + k * depth_step)
    b = right + size * (k * width + column)
    kernel = load_integer(args.kernel, (2 if i + tile_rows > rows else 0) + (1 if there < tile_width else 0))
    row = group * rows + i
    bias = args.bias + size * row if args.bias != 0 and k == 0 else 0
    start = args.target if k > 0 else args.residual
    limits = args.limits + 2 * size if end == args.depth * args.tap_count else args.limits
    if plane == in_image and inside + there <= in_image and args.split_steps == steps:
        place = size * ((n * args.target_channels + row) * plane + inside)
        c, begin = args.target + place, start + place if start != 0 else 0
        call(kernel, (end - k, a, row_step, depth_step, b, width, rest, c, plane, bias, begin, limits))
        return
    for s in range(0, end - k, steps):
        some, begin = min(steps, end - k - s), scratch if s > 0 else 0
        then, below = a + size * s * depth_step, b + size * s * width
        whole = some, then, row_step, depth_step, below, width, rest, scratch, tile_width
        call(kernel, (*whole, 0, begin, args.limits))
    valid = min(tile_rows, end_row - i)
    deliver(simd, args, row, valid, n * in_image + inside, there, scratch, tile_width, bias, start, limits)


@inner
def _block_of(args, number):
    """Return the block of rows and the block of columns of a task of an image's group."""
    if args.columns_first != 0:
        block, panel_block = divmod(number, args.panel_blocks)
        return panel_block, block
    return divmod(number, args.blocks)


@inner
def _operands(simd, args, plane, group):
    """Return the addresses of a group's weight and of its pixels: those of one image, or all gathered ones."""
    rows, depth, size = args.rows, args.depth * args.tap_count, simd.itemsize
    left = args.panels + size * group * ((rows + args.tile_rows - 1) // args.tile_rows) * args.panel_step
    if args.pack_tasks == 0:
        left = args.weight + size * (group * args.weight_group + load_integer(args.taps, 2))
    if args.piece != 0:
        return left, args.panels + args.columns + size * group * depth * args.width
    return left, args.source + size * plane * depth * args.width


@inner
def _multiply_last(simd, args, group, first_row, end_row, u, left, right, scratch):
    """Compute the last column, at lattice point ``u``, for some target channels: dot products with the weight's rows.

    As a vector of its own the 49th pixel of 7 x 7 would cost a quarter of the other 48.
    """
    size, lanes, depth = simd.itemsize, simd.lanes, args.depth * args.tap_count
    # The workspace holds an offset, which is 0, the column, and the sums.
    column = scratch + 64
    sums = column + size * depth
    store_integer(scratch, 0, 0)
    for k in range(depth):
        store_scalar(simd, column, k, load_scalar(simd, right, k * args.width))
    vectors = depth // lanes
    for i in range(first_row, end_row, LAST_ROWS):
        count = min(LAST_ROWS, end_row - i)
        here, a = sums + size * (i - first_row), left + size * i * args.row_step
        for m in range(count):
            total = zero(simd)
            for k in range(vectors * lanes, depth):
                total += load_scalar(simd, a, m * args.row_step + k) * load_scalar(simd, column, k)
            store_scalar(simd, here, m, total)
        kernel = load_integer(args.dots, 0 if count == LAST_ROWS else 1 if i + count == args.rows else 2)
        call(kernel, (vectors, a, args.row_step, column, scratch, here, 1))
    row = group * args.rows + first_row
    bias = args.bias + size * row if args.bias != 0 else 0
    deliver(simd, args, row, end_row - first_row, u, 1, sums, 1, bias, args.residual, args.limits + 2 * size)
