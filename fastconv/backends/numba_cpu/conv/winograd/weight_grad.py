"""The weight gradient of Winograd's convolution takes as few multiplications as its forward pass.

The result of forward.py for the patches d of a source channel, y = A' [ (G g G') * (B' d B) ] A, is linear in the
kernel g. So the weight gradient, from the gradients e of the patches' m x m pixels, is a sum over all patches:

    grad_g = G' [ sum over patches of (A e A') * (B' d B) ] G

so the sums are independent products of matrices, (target channels x patches) by (patches x channels), 16 by F(2 x 2)
and 46 by F(4 x 4), where the products of blocks are transposed like the rest. Patches are in the lanes and
side by side; the micro-kernel wants them one after another, so both operands are transposed on the way into their
panels, as in conv/implicit_gemm/weight_grad.py.

A task takes a block of channels, of target channels and of patches:

    for KC patches
        for vectors of channels          transform and transpose: 16 or 46 x KC x NC numbers
        for panels of target channels    the same for the gradient
        for each of the products
            for panels, for tiles        one micro-kernel call, added to the sums
    transform the sums                   and write the taps of each pair of channels

For a kernel of several pieces, a task computes one piece.

Sums of up to 128 x 128 channels are kept, 1 or 3 MB, which go through the cache once in KC = 64 steps. Both operands
are transformed anew for each block of the other's channels: with blocks of 64 instead, F(4 x 4) takes 1.2 times as long
for 128 channels, though its sums then fit the L2 cache.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import inner, intrinsic, types
from fastconv.backends.numba_cpu.conv.winograd.arguments import FormSimd, WinogradArguments
from fastconv.backends.numba_cpu.conv.winograd.forms.additions import additions, emit
from fastconv.backends.numba_cpu.conv.winograd.forms.polynomials import transposed
from fastconv.backends.numba_cpu.conv.winograd.forms.vectors import (
    emit_factors,
    emit_numbers,
    load_at,
    separated,
    store_all,
)
from fastconv.backends.numba_cpu.conv.winograd.kernels import count_pieces, piece_at
from fastconv.backends.numba_cpu.conv.winograd.patches import (
    chunk_at,
    count_patches,
    describe_chunks,
    load_spans,
    read_patches,
    table_bytes,
    target_words,
    word,
    write_zeros,
)
from fastconv.backends.numba_cpu.gemm.packing import is_finite, pack_rows, pack_squares
from fastconv.backends.numba_cpu.simd import (
    call,
    load_scalar,
    store_scalar,
    transpose,
)
from fastconv.backends.numba_cpu.simd.task import task

_I64 = ir.IntType(64)


def workspace_bytes(
    simd: FormSimd, steps: int, block_tiles: int, block_panels: int, tile_rows: int, tile_vectors: int
) -> int:
    """Return the size of a thread's workspace in bytes.

    It holds both operands' panels, some channels before transposition, the sums, and the table of chunks.
    """
    columns, rows = block_tiles * tile_vectors * simd.lanes, block_panels * tile_rows
    operands = simd.products * (steps * columns + steps * rows + block_panels * simd.lanes)
    square = simd.products * (steps * max(simd.lanes, tile_rows) + simd.lanes)
    numbers = operands + square + simd.products * rows * columns + (simd.taps + 1) * columns
    return -(-numbers * simd.itemsize // 64) * 64 + table_bytes(simd, -(-steps // simd.lanes))


@intrinsic
def _transform_gradients(typing, simd, chunk, away, below, plane, target, step):
    """Write the products' factors of a chunk's tiles of gradients as vectors ``step`` elements apart.

    The channel is ``away`` bytes from that of the chunk, rows of gradients are ``below`` bytes apart, and
    channels ``plane`` bytes.
    """

    def generate(context, builder, signature, arguments):
        _, chunk, away, below, plane, target, step = arguments
        form, lanes = simd.simd.form, simd.simd.lanes
        program, along_rows = (additions(transposed(axis.result)) for axis in (form.down, form.right))
        words = target_words(form)
        columns = []

        def channel(span: Any, a: int) -> Any:
            return plane

        for v in range(form.right.output):

            def row(span: Any, a: int, v: int = v) -> Any:
                place = builder.add(word(builder, span, words), ir.Constant(_I64, v * lanes * simd.simd.itemsize))
                return builder.add(builder.add(place, away), builder.mul(below, ir.Constant(_I64, a)))

            columns.append(load_spans(builder, simd, chunk, form.down.output, words + 2 + v, row, words + 1, channel))
        columns = [emit(builder, program, column) for column in columns]
        numbers = [emit(builder, along_rows, separated(builder, list(row))) for row in zip(*columns, strict=True)]
        emit_factors(builder, simd, numbers.__getitem__, lambda block: transposed(block.result), target, step)
        return context.get_dummy_value()

    return types.void(simd, *[types.intp] * 6), generate


@intrinsic
def _transform_sums(typing, simd, source, source_step, target, target_step):
    """Write the taps of a vector of kernels, from sums of products that lie ``source_step`` elements apart.

    The taps are vectors ``target_step`` elements apart.
    """

    def generate(context, builder, signature, arguments):
        _, source, source_step, target, target_step = arguments
        form = simd.simd.form
        program, along_rows = (additions(transposed(axis.weight)) for axis in (form.down, form.right))
        numbers = emit_numbers(
            builder,
            form,
            lambda block: transposed(block.weight),
            lambda k: load_at(builder, simd, source, source_step, k),
        )
        columns = [emit(builder, program, column) for column in numbers]
        taps = [value for row in zip(*columns, strict=True) for value in emit(builder, along_rows, row)]
        store_all(builder, simd, taps, target, target_step)
        return context.get_dummy_value()

    return types.void(simd, *[types.intp] * 4), generate


@inner
def _pack_source(simd, first, end, chunks, table, steps, square, target, width):
    """Transform and transpose channels ``first`` up to ``end`` into 16 rows of tiles of steps x width."""
    lanes = simd.lanes
    square_step = (steps + 1) * lanes
    tiles = (end - first + width - 1) // width
    for c in range(first, end, lanes):
        there = min(lanes, end - c)
        read_patches(simd, c, c + there, chunks, table, steps, square, square_step)
        tile, inside = divmod(c - first, width)
        for point in range(simd.products):
            place = target + simd.itemsize * ((point * tiles + tile) * steps * width + inside)
            for k in range(0, steps, lanes):
                corner = square + simd.itemsize * (point * square_step + k)
                transpose(simd, corner, steps, there, place + simd.itemsize * k * width, width)


@inner
def _pack_gradient(simd, args, row, rows, chunks, table, square, target, target_step):
    """Transform and transpose gradient channels from ``row`` on into a panel for each of the 16 products."""
    tile_rows, steps = args.tile_rows, args.steps
    square_step = steps * tile_rows + simd.lanes
    plane = simd.itemsize * args.I * args.J
    below = simd.itemsize * args.J
    for m in range(rows):
        for chunk in range(chunks):
            base = chunk_at(simd, table, chunk)
            place = square + simd.itemsize * (m * steps + chunk * simd.lanes)
            _transform_gradients(simd, base, (row + m) * plane, below, plane, place, square_step)
    for point in range(simd.products):
        panel = target + simd.itemsize * point * target_step
        pack_squares(simd, square + simd.itemsize * point * square_step, steps, rows, steps, panel, tile_rows)


@inner
def _write_taps(simd, sums, step, rows, wanted, columns, taps, target, depth, kernel, first_tap):
    """Write the gradients of rows x ``wanted`` kernels, by way of ``taps``; return True if all are finite.

    They are those of a piece of a ``kernel`` (R, S), from ``first_tap`` (r, s) on.
    """
    (R, S), (r, s) = kernel, first_tap
    down, right, all_of_them = simd.tap_rows, simd.tap_columns, simd.taps
    finite = True
    for row in range(rows):
        for c in range(0, wanted, simd.lanes):
            _transform_sums(simd, sums + simd.itemsize * (row * columns + c), step, taps + simd.itemsize * c, columns)
        place = target + simd.itemsize * R * S * row * depth
        if down == R and right == S:
            pack_rows(simd, taps, columns, all_of_them, wanted, place, all_of_them)
            finite = finite and is_finite(simd, place, all_of_them * wanted)
            continue
        for i in range(min(down, R - r)):
            for j in range(min(right, S - s)):
                values = taps + simd.itemsize * (right * i + j) * columns
                finite = finite and is_finite(simd, values, wanted)
                first = (r + i) * S + s + j
                for c in range(wanted):
                    store_scalar(simd, place, c * R * S + first, load_scalar(simd, values, c))
    return finite


@inner
def _add_products(simd, args, steps, goes_on, tiles, panels, left, left_step, right, sums):
    """Add the products of ``steps`` patches, packed at ``left`` and ``right``, to the sums if these go on."""
    tile_rows, width = args.tile_rows, args.tile_vectors * simd.lanes
    kernel, limits = args.kernel, args.limits
    most, columns, size = args.steps, tiles * width, simd.itemsize
    panel_step = most * tile_rows + simd.lanes
    for point in range(simd.products):
        for tile in range(tiles):
            b = right + size * (point * tiles + tile) * most * width
            for panel in range(panels):
                a = left + size * (point * left_step + panel * panel_step)
                c = sums + size * ((point * panels + panel) * tile_rows * columns + tile * width)
                call(kernel, (steps, a, b, c, columns, 0, c if goes_on else 0, limits))


@task(WinogradArguments)
def multiply(simd, args, task, thread):
    """Compute a block of channels for a block of target channels in one group, over one part of the patches."""
    R, S = args.tap_rows, args.tap_columns
    products = simd.products
    rest, piece = divmod(task, count_pieces(simd, args))
    r, s = piece_at(simd, args, piece)
    rest, block = divmod(rest, args.blocks)
    rest, panel_block = divmod(rest, args.panel_blocks)
    split, group = divmod(rest, args.groups)
    rows, tile_rows = args.rows, args.tile_rows
    block_panels, block_tiles = args.block_panels, args.block_tiles
    first_row = panel_block * block_panels * tile_rows
    end_row = min(rows, first_row + block_panels * tile_rows)
    panels = (end_row - first_row + tile_rows - 1) // tile_rows
    width = args.tile_vectors * simd.lanes
    depth = args.depth
    first_column = block * block_tiles * width
    end_column = min(depth, first_column + block_tiles * width)
    tiles = (end_column - first_column + width - 1) // width
    columns = tiles * width
    begin = split * args.split_steps
    patches = min(count_patches(simd, args), begin + args.split_steps)
    steps, size = args.steps, simd.itemsize

    right = args.workspace + thread * args.thread_bytes
    left = right + size * products * steps * block_tiles * width
    panel_step = steps * tile_rows + simd.lanes
    left_step = block_panels * panel_step
    square = left + size * products * left_step
    sums = square + size * products * (steps * max(simd.lanes, tile_rows) + simd.lanes)
    sum_step = panels * tile_rows * columns
    taps = sums + size * products * sum_step
    nowhere = taps + size * (simd.taps + 1) * columns
    table = write_zeros(simd, nowhere)

    for first in range(begin, patches, steps):
        here = min(steps, patches - first)
        chunks = (here + simd.lanes - 1) // simd.lanes
        channels, tap = (group * rows, first_column), (r, s)
        describe_chunks(simd, args, args.grad, group, channels, first, (here, chunks), tap, nowhere, table)
        _pack_source(simd, first_column, end_column, chunks, table, steps, square, right, width)
        for panel in range(panels):
            row, place = first_row + panel * tile_rows, left + size * panel * panel_step
            _pack_gradient(simd, args, row, min(tile_rows, end_row - row), chunks, table, square, place, left_step)
        _add_products(simd, args, here, first > begin, tiles, panels, left, left_step, right, sums)

    target = args.target
    if args.splits > 1:
        target = args.partial + size * split * args.groups * rows * depth * R * S
    target += size * R * S * ((group * rows + first_row) * depth + first_column)
    wanted = end_column - first_column
    if not _write_taps(simd, sums, sum_step, end_row - first_row, wanted, columns, taps, target, depth, (R, S), (r, s)):
        args.infinite = 1
