"""Where there are few patches, they are transformed once, before they meet any of the weight.

A task of forward.py transforms its patches itself, and reads all of the weight for them, which was transformed before.
With few patches this is the wrong way round: either some threads have no work, or several tasks transform the same
patches for other target channels; and a transformed weight is 2 to 5 times as large as it was, so that of 512 x 512
channels takes 17 or 48 MB, which are written to memory and read again. Here the patches are transformed first, to
memory that all threads share, and the transformed weight never leaves a core's L2 cache: 512 x 512 channels at 14 x 14
pixels take 3.0 instead of 5.1 ms by F(2 x 2), and instead of 10.2 by F(4 x 4). A task takes a block of target channels
and a block of patches, several tiles of NR:

    for KC channels
        for panels of MR target channels
            transform their kernels
            for each product
                for tiles of NR patches   one micro-kernel call
    transform the sums                    as in forward.py

The order of all sums is that of forward.py. A network keeps its weight packed in panels, with all their taps: that is
no larger than the weight and is read in order, and a task has only to transform it. 512 x 512 channels at 7 x 7 pixels
take 1000 instead of 1310 us by F(2 x 2) so, and 1070 instead of 1390 if no cache holds the weight (Emerald Rapids, two
threads). A weight that is kept transformed is read from memory in the time that it takes to transform it again.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.winograd.arguments import FormSimd, WinogradArguments
from fastconv.backends.numba_cpu.conv.winograd.kernels import (
    PACKED_CHANNELS,
    count_pieces,
    pack_channels,
    packing_numbers,
    piece_at,
    sees_odd_weight,
    transform_piece,
)
from fastconv.backends.numba_cpu.conv.winograd.patches import (
    chunk_at,
    count_patches,
    describe_chunks,
    read_patches,
    table_bytes,
    write_zeros,
)
from fastconv.backends.numba_cpu.conv.winograd.results import write_pixels
from fastconv.backends.numba_cpu.gemm.packing import pack_panel_of
from fastconv.backends.numba_cpu.simd import call
from fastconv.backends.numba_cpu.simd.task import task


def workspace_bytes(
    simd: FormSimd, steps: int, tile_rows: int, block_panels: int, block_tiles: int, tile_vectors: int, taps: int
) -> int:
    """Return the bytes of a thread's workspace: kernels, sums of products, zeros, and the table of chunks."""
    width, rows = tile_vectors * simd.lanes, block_panels * tile_rows
    numbers = packing_numbers(simd, tile_rows, taps)
    numbers += simd.products * (tile_rows * steps + simd.lanes + block_tiles * (rows * width + simd.lanes))
    return -(-numbers * simd.itemsize // 64) * 64 + table_bytes(simd, tile_vectors)


def patch_numbers(simd: FormSimd, tiles: int, width: int, channels: int, passes: int) -> int:
    """Return the count of numbers of all patches of a group, transformed.

    ``channels`` and ``passes`` count those of all pieces of the kernel.
    """
    return simd.products * tiles * (channels * width + passes * simd.lanes)


@inner
def _sizes(simd, args):
    """Return the pieces, the passes over the channels, the patches of a tile, and the tiles."""
    pieces = count_pieces(simd, args)
    width = args.tile_vectors * simd.lanes
    tiles = (count_patches(simd, args) + width - 1) // width
    return pieces, (args.depth + args.steps - 1) // args.steps, width, tiles


@inner
def _patches_at(simd, args, sizes, tile, piece, k):
    """Return the address of the transformed patches of a tile, counted through the groups, from channel ``k`` on."""
    pieces, passes, width, _ = sizes
    before = tile * pieces + piece
    numbers = (before * args.depth + k) * width + (before * passes + k // args.steps) * simd.lanes
    return args.patches + simd.itemsize * simd.products * numbers


@task(WinogradArguments)
def pack(simd, args, task, thread):
    """Pack panel number ``task`` of a weight that a network keeps, counted through the groups."""
    if sees_odd_weight(simd, args, task):
        args.infinite = 1
    pack_panel_of(simd, args, task)


@task(WinogradArguments)
def transform(simd, args, task, thread):
    """Transform KC channels of a tile of patches for one piece of the kernel."""
    if args.panels == 0 and sees_odd_weight(simd, args, task):
        args.infinite = 1
    sizes = _sizes(simd, args)
    pieces, passes, width, tiles = sizes
    rest, number = divmod(task, passes)
    tile, piece = divmod(rest, pieces)
    group, inside = divmod(tile, tiles)
    depth, steps = args.depth, args.steps
    first, k = inside * width, number * steps
    count, here = min(width, count_patches(simd, args) - first), min(steps, depth - k)
    nowhere = args.workspace + thread * args.thread_bytes
    table = write_zeros(simd, nowhere)
    target = _patches_at(simd, args, sizes, tile, piece, k)
    step = here * width + simd.lanes
    tap = piece_at(simd, args, piece)
    counts = count, args.tile_vectors
    describe_chunks(simd, args, args.target, group, (0, k), first, counts, tap, nowhere, table)
    read_patches(simd, k, k + here, args.tile_vectors, table, width, target, step)


@inner
def _transform_kernels(simd, args, panel, piece, first, count, workspace, target, step):
    """Transform a piece of ``count`` channels' kernels of a panel, which is counted through the groups.

    Those of each product lie ``step`` elements from those of the next, from ``target`` on. Return True if all are
    finite.
    """
    tile_rows, channel = args.tile_rows, args.tap_count * args.tile_rows
    if args.panels != 0:
        packed = args.panels + simd.itemsize * (panel * args.depth + first) * channel
        transform_piece(simd, args, piece, count, packed, workspace, target, step)
        return True
    group, panel = divmod(panel, (args.rows + tile_rows - 1) // tile_rows)
    finite = True
    for c in range(0, count, PACKED_CHANNELS):
        here = min(PACKED_CHANNELS, count - c)
        finite = pack_channels(simd, args, group, panel, first + c, here, workspace) and finite
        place = target + simd.itemsize * c * tile_rows
        transform_piece(simd, args, piece, here, workspace, workspace, place, step)
    return finite


@task(WinogradArguments)
def multiply(simd, args, task, thread):
    """Compute a block of tiles of patches for a block of target channels; do nothing if the fallback will run."""
    if args.infinite != 0:
        return
    sizes = _sizes(simd, args)
    pieces, _, width, tiles = sizes
    rest, block = divmod(task, args.blocks)
    group, panel_block = divmod(rest, args.panel_blocks)
    depth, steps, rows, tile_rows = args.depth, args.steps, args.rows, args.tile_rows
    panels = (rows + tile_rows - 1) // tile_rows
    first_panel, first_tile = panel_block * args.block_panels, block * args.block_tiles
    end_panel, end_tile = min(panels, first_panel + args.block_panels), min(tiles, first_tile + args.block_tiles)
    block_rows = (end_panel - first_panel) * tile_rows
    kernel, limits, size, products = args.kernel, args.limits, simd.itemsize, simd.products

    # The workspace: zeros, chunks, packed kernels, transformed kernels, sums.
    nowhere = args.workspace + thread * args.thread_bytes
    table = write_zeros(simd, nowhere)
    packed = chunk_at(simd, table, args.tile_vectors)
    packing = args.tap_count * PACKED_CHANNELS + simd.taps + simd.lanes + 1  # as in `packing_numbers`
    left = packed + size * packing * (tile_rows + simd.lanes)
    left_step = tile_rows * steps + simd.lanes
    sums = left + size * products * left_step
    sum_step = block_rows * width + simd.lanes
    goes_on = False
    for piece in range(pieces):
        for k in range(0, depth, steps):
            here = min(steps, depth - k)
            for panel in range(first_panel, end_panel):
                number = group * panels + panel
                if not _transform_kernels(simd, args, number, piece, k, here, packed, left, left_step):
                    args.infinite = 1
                for product in range(products):
                    for tile in range(first_tile, end_tile):
                        right = _patches_at(simd, args, sizes, group * tiles + tile, piece, k)
                        right += size * product * (here * width + simd.lanes)
                        target = sums + size * ((tile - first_tile) * products + product) * sum_step
                        a = left + size * product * left_step
                        c = target + size * (panel - first_panel) * tile_rows * width
                        call(kernel, (here, a, right, c, width, 0, c if goes_on else 0, limits))
            goes_on = True
    first_row = first_panel * tile_rows
    row, wanted = group * rows + first_row, min(block_rows, rows - first_row)
    for tile in range(first_tile, end_tile):
        first = tile * width
        counts = min(width, count_patches(simd, args) - first), args.tile_vectors
        describe_chunks(simd, args, args.target, group, (row, 0), first, counts, (0, 0), nowhere, table)
        source = sums + size * (tile - first_tile) * products * sum_step
        if not write_pixels(simd, args, row, wanted, args.tile_vectors, table, width, source, sum_step, nowhere):
            args.infinite = 1
