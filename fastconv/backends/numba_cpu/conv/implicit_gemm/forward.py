"""A convolution is computed as a matrix product; only one block of its right operand is in memory at a time.

    target[m, u]  =  bias[m] + sum over k of weight[m, k] * source[k, u],       k = (d, t), u = (n, i, j)

Rows are target channels, the reduction is channels x taps, and the pixels of the whole batch side by side are the
columns, so that small images fill whole tiles too. Pixels are in the vectors' lanes, since they are contiguous in NCHW:
tiles of the result are written directly to the image.

The loops are those of BLIS. A task takes a block of pixels (and, where there are few pixels, of target channels):

    for chunks of the reduction          one times KC, or as much as fits in the L2 cache
        gather chunk x NC of the source  into panels, in the L2 cache                     (gather.py)
        for panels of MR target channels     each KC x MR, packed once for all tasks      (gemm/packing.py)
            for tiles of NR pixels
                for KC steps                     one micro-kernel call                    (gemm/micro_kernel.py)

With chunks of KC steps a panel of the weight stays in the L1 cache for all tiles. Larger chunks are for targets with a
stride: to add a tile to these takes ten times as long as to add it to the workspace.

A gathered number is used ROWS times, at 16 multiply-adds a cycle; gathering costs some 0.15 cycles a number, so with 64
target channels 4% of the time. Tiles at an edge (the last channels, the end of an image, a target with a stride) are
computed into the workspace and then copied to the target by `deliver`.

This loop nest computes forward passes and input gradients (see lowering.py). No result depends on which thread does
which task: each is computed by one task, in a fixed order.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.implicit_gemm.gather import (
    INSIDE_WORDS,
    RUN_WORDS,
    copy_plain,
    gather,
    is_plain,
)
from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments
from fastconv.backends.numba_cpu.gemm.write_run import write_run
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
)
from fastconv.backends.numba_cpu.simd.task import task


def workspace_bytes(simd: Simd, chunk: int, block_tiles: int, tile_rows: int, tile_vectors: int) -> int:
    """Return the size of a thread's workspace, in bytes.

    It holds the gathered block, one tile, and the runs of a vector before and after clipping to the image.
    """
    width = tile_vectors * simd.lanes
    numbers = chunk * block_tiles * width + tile_rows * width
    return -(-numbers * simd.itemsize // 64) * 64 + 8 * (RUN_WORDS + INSIDE_WORDS) * simd.lanes


@inner
def _gather_block(simd, args, group, first, pixels, rows, gathered, runs):
    """Gather ``rows``, a range of the reduction, for a block of pixels from ``first`` on."""
    begin, end = rows
    vectors, here = args.tile_vectors, end - begin
    width = vectors * simd.lanes
    tiles = min(args.block_tiles, (pixels - first + width - 1) // width)
    in_image, channels = args.I * args.J, args.depth * args.groups
    plain = is_plain(args)
    for tile in range(tiles):
        n, inside = divmod(first + tile * width, in_image)
        if plain and inside + width <= in_image:
            place = (n * channels + group * args.depth) * in_image + inside
            target = gathered + simd.itemsize * tile * here * width
            copy_plain(simd, args.source, in_image, begin, end, place, target, width)
            continue
        for vector in range(vectors):
            u = first + tile * width + vector * simd.lanes
            place = gathered + simd.itemsize * (tile * here * width + vector * simd.lanes)
            count = min(simd.lanes, pixels - u)
            gather(simd, args, args.taps, args.tap_count, group, u, count, begin, end, place, width, runs)


@task(ConvArguments)
def multiply(simd, args, task, thread):
    """Compute one block of pixels by one block of target channels in one group."""
    rest, block = divmod(task, args.blocks)
    group, panel_block = divmod(rest, args.panel_blocks)
    rows, tile_rows = args.rows, args.tile_rows
    panels = (rows + tile_rows - 1) // tile_rows
    first_panel = panel_block * args.block_panels
    end_panel = min(panels, first_panel + args.block_panels)
    width = args.tile_vectors * simd.lanes
    in_image = args.I * args.J
    pixels = args.N * in_image
    first = block * args.block_tiles * width
    tiles = min(args.block_tiles, (pixels - first + width - 1) // width)
    length, chunk = args.depth * args.tap_count, args.split_steps
    limits = args.limits
    plane = args.target_h * args.target_w
    # True if neighbours in the lattice are neighbours in the target, also from one row to the next.
    dense = plane == in_image

    gathered = args.workspace + thread * args.thread_bytes
    scratch = gathered + simd.itemsize * chunk * args.block_tiles * width
    runs = (scratch + simd.itemsize * tile_rows * width + 63) // 64 * 64

    for k in range(0, length, chunk):
        here = min(chunk, length - k)
        _gather_block(simd, args, group, first, pixels, (k, k + here), gathered, runs)
        start = args.target if k > 0 else args.residual
        here_limits = limits + 2 * simd.itemsize if k + here == length else limits
        for panel in range(first_panel, end_panel):
            row = group * rows + panel * tile_rows
            left = args.panels + simd.itemsize * tile_rows * ((group * panels + panel) * length + k)
            bias = args.bias + simd.itemsize * row if args.bias != 0 and k == 0 else 0
            whole = panel * tile_rows + tile_rows <= rows
            for tile in range(tiles):
                u = first + tile * width
                right = gathered + simd.itemsize * tile * here * width
                n, inside = divmod(u, in_image)
                direct = whole and dense and inside + width <= in_image
                target, across, begin, addend, within = scratch, width, 0, 0, limits
                if direct:
                    place = simd.itemsize * ((n * args.target_channels + row) * plane + inside)
                    target, begin = args.target + place, start + place if start != 0 else 0
                    across, addend, within = plane, bias, here_limits
                _multiply_chunk(simd, args, here, width, (left, right, target, across, addend, begin, within))
                if not direct:
                    count = min(width, pixels - u)
                    valid = min(tile_rows, rows - panel * tile_rows)
                    deliver(simd, args, row, valid, u, count, scratch, width, bias, start, here_limits)
            if args.activation != 0 and k + here == length:
                valid = min(tile_rows, rows - panel * tile_rows)
                activate(simd, args, row, valid, first, min(pixels, first + tiles * width))


@inner
def _multiply_chunk(simd, args, length, width, operands):
    """Compute a tile of a chunk of the reduction, ``steps`` steps at a time; the last ones apply the limits."""
    left, right, target, across, bias, start, last_limits = operands
    tile_rows, steps, begin = args.tile_rows, args.steps, start
    for k in range(0, length, steps):
        here = min(steps, length - k)
        within = last_limits if k + here == length else args.limits
        a, b = left + simd.itemsize * k * tile_rows, right + simd.itemsize * k * width
        call(args.kernel, (here, a, b, target, across, bias if k == 0 else 0, begin, within))
        begin = target


@inner
def deliver(simd, args, row, rows, u, count, tile, width, bias, start, limits):
    """Write ``rows`` x ``count`` numbers of a tile to target channels from ``row`` and lattice points from u on."""
    I, J = args.I, args.J
    wide = args.target_w
    plane = args.target_h * wide
    channels = args.target_channels
    # If the lattice is the whole target its points are contiguous; a different stride means a single row or column.
    right = 1 if plane == I * J else args.XJ
    target = args.target
    n, inside = divmod(u, I * J)
    lane = 0
    while lane < count:
        if plane == I * J:
            end = min(count, lane + I * J - inside)
            pixel = inside
        else:
            i, j = divmod(inside, J)
            end = min(count, lane + J - j)
            pixel = (args.Y0 + i * args.YI) * wide
            pixel += args.X0 + j * right
        corner = (n * channels + row) * plane + pixel
        write_run(simd, tile, width, rows, lane, end, target, corner, plane, right, (bias, start, limits))
        inside += end - lane
        lane = end
        if inside == I * J:
            inside = 0
            n += 1


@inner
def activate(simd, args, row, rows, first, end):
    """Activate the results of target channels from ``row`` on, at lattice points ``first`` up to ``end``."""
    plane = args.I * args.J
    while first < end:
        n, inside = divmod(first, plane)
        count = min(end - first, plane - inside)
        place = (n * args.target_channels + row) * plane + inside
        call(args.activation, (args.target + simd.itemsize * place, count, rows, plane))
        first += count
