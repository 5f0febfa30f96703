"""Winograd's minimal filtering F(2 x 2, 3 x 3): a 3 x 3 convolution with 4 multiplications a pixel instead of 9.

Four outputs, 2 x 2, depend on a patch of 4 x 4 inputs. Both are seen as polynomials to be multiplied, evaluated at the
points 0, 1, -1 and infinity along each axis, multiplied there, and interpolated:

    y = A' [ (G g G') * (B' d B) ] A          * element by element, ' the transpose

    B' = | 1  0 -1  0 |     G = | 1    0    0 |     A' = | 1  1  1  0 |
         | 0  1  1  0 |         | 1/2  1/2 1/2|          | 0  1 -1 -1 |
         | 0 -1  1  0 |         | 1/2 -1/2 1/2|
         | 0  1  0 -1 |         | 0    0    1 |

The 16 numbers of a transformed patch never meet each other before the end, so the sum over channels is 16 independent
products of matrices, (target channels x channels) by (channels x patches): 16 multiplications for four outputs, where
the definition needs 36. The transforms, a few additions each, and the short sums take a quarter of the time with 64
channels and less with more.

A task takes a block of NR patches, of all images side by side, and (where these are few) of target channels:

    for KC channels                      so that 16 x KC x NR transformed numbers stay in the L2 cache
        transform their patches          straight from the image, a row of patches in the lanes
        for each of the 16 products
            for panels of MR channels    one micro-kernel call; KC x NR of the patches stay in the L1 cache
    transform the sums                   into 2 x 2 pixels each, bias and floor, written where they belong

A row of patches starts every two pixels, so a vector of them is de-interleaved from loads of two vectors. Where a row
ends the vector does too, and what was computed beyond it is written all the same, for the next row to write over: rows
of 4 or 7 patches stand as close as those of 28.

A larger kernel is a sum of *pieces* of 3 x 3 taps, the last of them with zeros for the taps that there aren't: each
reads the patches three pixels on from those of the piece before. For the products a piece is more channels: with four
pieces, 5 x 5 taps take 16 multiplications for a pixel instead of 25. So far this pays from some 16 channels on.

Rounding. Sums are over channels only, a ninth of the definition's terms, in blocks of at most 128; that makes up for
what the transforms add. Root-mean-square error over that of torch's direct form, normal deviates and (in brackets)
positive ones: 0.9 (1.1) for 32 channels, 1.2 (1.4) for 64, 1.6 (1.9) for 128, 1.5 (1.7) for 512. F(4 x 4, 3 x 3),
another 1.8 times fewer multiplications, has 6 to 18 times the error and is not offered. An infinite or overflowing
number would spread over its patch, so the last transform looks for such: the plan then computes everything by `gemm`.

Zero taps. A pixel under a tap that is 0 still takes part in the sums, and what rounding leaves of it shows: some 2e-5
of a float32 pixel. Where a whole row or column of taps is 0 in every kernel, as in causal and masked ones, the plan
goes by `gemm` too, and such pixels have no part at all. Single zero taps, and the zeros that fill up the last piece,
don't count.

After A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016), and S. Winograd,
"Arithmetic complexity of computations" (1980).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.jit import address_of, inner, once
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.microkernel import ACCUMULATE
from fastconv.backends.numba_cpu.panels import is_finite, pack_panel
from fastconv.backends.numba_cpu.patches import (
    CHUNK_WORDS,
    POINTS,
    count_patches,
    describe_chunks,
    load_points,
    read_patches,
    store_points,
)
from fastconv.backends.numba_cpu.simd import (
    Simd,
    broadcast_value,
    call,
    element,
    is_zero,
    load,
    load_integer,
    load_scalar,
    load_vector,
    mask_of_bits,
    masked_store,
    multiply_add,
    raise_to,
    shuffled,
    store,
    store_integer,
    vector_at,
    vector_of,
    zeros,
)

_I64 = ir.IntType(64)

PACKED_CHANNELS = 16
"""Channels of the weight that are packed at a time, in the L1 cache, before they are transformed."""


def workspace_bytes(simd: Simd, steps: int, tile_rows: int, block_panels: int, tile_vectors: int, taps: int) -> int:
    """What a slot needs: the transformed patches, their sums, a row of zeros, and what describes the chunks."""
    width = tile_vectors * simd.lanes
    patches = POINTS * (steps * width + simd.lanes)
    sums = POINTS * (block_panels * tile_rows * width + simd.lanes)
    packing = (taps * PACKED_CHANNELS + 9) * (tile_rows + simd.lanes)
    numbers = max(patches, packing) + sums + 4 * simd.lanes
    return -(-numbers * simd.itemsize // 64) * 64 + 8 * CHUNK_WORDS * width


def weight_numbers(simd: Simd, panels: int, tile_rows: int, channels: int, pieces: int) -> int:
    """Numbers of a transformed weight: 16 matrices of panels, their pieces each followed by what a vector may spill."""
    return POINTS * panels * pieces * (tile_rows * channels + simd.lanes)


@intrinsic
def _transform_taps(typing, simd, source, source_step, target, target_step):
    """A vector of kernels, whose taps are at source + t * source_step, to G g G' of each: 16 vectors from target on."""

    def generate(context, builder, signature, arguments):
        _, source, source_step, target, target_step = arguments
        half = ir.Constant(vector_of(simd).llvm, [0.5] * simd.simd.lanes)

        def evaluate(g: list[Any]) -> list[Any]:
            ends = builder.fmul(builder.fadd(g[0], g[2]), half)
            middle = builder.fmul(g[1], half)
            return [g[0], builder.fadd(ends, middle), builder.fsub(ends, middle), g[2]]

        places = [builder.mul(source_step, ir.Constant(_I64, t)) for t in range(9)]
        taps = [load_vector(builder, simd, source, place) for place in places]
        columns = [evaluate(taps[s::3]) for s in range(3)]
        points = [evaluate([column[i] for column in columns]) for i in range(4)]
        store_points(builder, simd, points, target, target_step)
        return context.get_dummy_value()

    return types.void(simd, *[intp] * 4), generate


def _interpolate(builder: Any, m: list[Any]) -> list[Any]:
    """A' m."""
    return [builder.fadd(builder.fadd(m[0], m[1]), m[2]), builder.fsub(builder.fsub(m[1], m[2]), m[3])]


@intrinsic
def _transform_sums(typing, simd, source, step, bias, floor, target, below, mask0, mask1, mask2, mask3, odd):
    """16 vectors, ``step`` elements apart, to A' m A: 2 x 2 pixels of each lane, from ``target`` and ``below`` on.

    ``bias`` and ``floor`` are addresses of numbers; the masks say which lanes to write of the two vectors in each row.
    The result is ``odd``, made NaN where a pixel was infinite or NaN.
    """

    def generate(context, builder, signature, arguments):
        _, source, step, bias, floor, target, below, *masks, odd = arguments
        lanes = simd.simd.lanes
        nothing, first = ir.Constant(vector_of(simd).llvm, None), ir.Constant(_I64, 0)
        start, lowest = (
            broadcast_value(builder, builder.load(element(builder, simd, base, first)), lanes) for base in (bias, floor)
        )
        points = load_points(builder, simd, source, step)
        columns = [_interpolate(builder, [row[j] for row in points]) for j in range(4)]
        for row, address in enumerate((target, below)):
            pixels = []
            for value in _interpolate(builder, [column[row] for column in columns]):
                odd = multiply_add(builder, value, nothing, odd)
                pixels.append(raise_to(builder, builder.fadd(value, start), lowest))
            for half in range(2):
                places = range(half * lanes // 2, (half + 1) * lanes // 2)
                order = [lane + lanes * column for lane in places for column in range(2)]
                pointer = vector_at(builder, simd, address, ir.Constant(_I64, half * lanes))
                mask = mask_of_bits(builder, lanes, masks[2 * row + half])
                masked_store(builder, shuffled(builder, pixels[0], pixels[1], order), pointer, mask, simd.simd.itemsize)
        return odd

    return vector_of(simd)(simd, *[intp] * 10, vector_of(simd)), generate


@inner
def _cut_piece(simd, taps, step, rows, columns, first, across, target):
    """Vectors of 3 x 3 taps from number ``first`` on, zeros beyond so many rows and columns; ``across`` in a row."""
    for r in range(3):
        for s in range(3):
            value = zeros(simd)
            if r < rows and s < columns:
                value = load(simd, taps, (first + r * across + s) * step)
            store(simd, target, (3 * r + s) * simd.lanes, value)


@inner
def _lacks_line(simd, frame, R, S):
    """Whether the taps of a whole row or column are 0 in every kernel of a weight, and others are not.

    In each line the first kernel's taps mostly tell.
    """
    groups, rows, depth = load_integer(frame, F.GROUPS), load_integer(frame, F.ROWS), load_integer(frame, F.DEPTH)
    row_step, depth_step = load_integer(frame, F.WEIGHT_ROW), load_integer(frame, F.WEIGHT_DEPTH)
    weight, places = load_integer(frame, F.WEIGHT), load_integer(frame, F.TAPS)
    lacking = 0
    for line in range(R + S):
        first, step, count = (line * S, 1, S) if line < R else (line - R, S, R)
        found = False
        for kernel in range(groups * rows * depth):
            rest, c = divmod(kernel, depth)
            group, m = divmod(rest, rows)
            base = group * load_integer(frame, F.WEIGHT_GROUP) + m * row_step + c * depth_step
            for i in range(count):
                if load_scalar(simd, weight, base + load_integer(places, 3 * (first + i * step) + 2)) != 0:
                    found = True
            if found:
                break
        if not found:
            lacking += 1
    return 0 < lacking < R + S


@inner
def _transform_weight(simd, frame, task, slot):
    """Panel number ``task`` of the weight, counted through the groups."""
    rows, tile_rows = load_integer(frame, F.ROWS), load_integer(frame, F.TILE_ROWS)
    depth = load_integer(frame, F.DEPTH)
    taps, R, S = load_integer(frame, F.TAP_COUNT), load_integer(frame, F.TAP_ROWS), load_integer(frame, F.TAP_COLUMNS)
    down, across = (R + 2) // 3, (S + 2) // 3
    panels = (rows + tile_rows - 1) // tile_rows
    group, panel = divmod(task, panels)
    piece_step = tile_rows * depth + simd.lanes
    panel_step = down * across * piece_step
    matrix = panels * panel_step
    target = load_integer(frame, F.PANELS) + simd.itemsize * (POINTS * matrix * group + panel * panel_step)
    packed = load_integer(frame, F.WORKSPACE) + slot * load_integer(frame, F.SLOT_BYTES)
    piece_of = packed + simd.itemsize * (taps * PACKED_CHANNELS * tile_rows + simd.lanes)
    odd = 0
    if task == 0 and _lacks_line(simd, frame, R, S):
        odd = 1
    for first in range(0, depth, PACKED_CHANNELS):
        here = min(PACKED_CHANNELS, depth - first)
        pack_panel(simd, frame, group, panel, first, here, packed)
        if not is_finite(simd, packed, here * taps * tile_rows):
            odd = 1
        for piece in range(down * across):
            r, s = 3 * (piece // across), 3 * (piece % across)
            whole = down * across == 1 and taps == 9
            for c in range(here):
                for i in range(0, tile_rows, simd.lanes):
                    kernels, step = packed + simd.itemsize * (taps * c * tile_rows + i), tile_rows
                    if not whole:
                        _cut_piece(simd, kernels, tile_rows, R - r, S - s, r * S + s, S, piece_of)
                        kernels, step = piece_of, simd.lanes
                    place = target + simd.itemsize * (piece * piece_step + (first + c) * tile_rows + i)
                    _transform_taps(simd, kernels, step, place, matrix)
    if odd:
        store_integer(frame, F.INFINITE, 1)


@inner
def _write_pixels(simd, frame, row, rows, chunks, table, width, sums, step, nowhere):
    """The pixels of target channels from ``row`` on; whether all of them are finite."""
    I, J = load_integer(frame, F.I), load_integer(frame, F.J)
    bias, floor = load_integer(frame, F.BIAS), load_integer(frame, F.LIMITS) + simd.itemsize
    odd = zeros(simd)
    for m in range(rows):
        start = nowhere
        if bias != 0:
            start = bias + simd.itemsize * (row + m)
        for chunk in range(chunks):
            base = table + 8 * CHUNK_WORDS * chunk
            here = sums + simd.itemsize * (m * width + load_integer(base, 0))
            place = load_integer(base, 13) + simd.itemsize * m * I * J
            odd = _transform_sums(
                simd,
                here,
                step,
                start,
                floor,
                place,
                place + simd.itemsize * J,
                load_integer(base, 14),
                load_integer(base, 15),
                load_integer(base, 16),
                load_integer(base, 17),
                odd,
            )
    return is_zero(simd, odd)


@inner
def _multiply(simd, frame, task, slot):
    """One block of patches by one block of target channels in one group; nothing if all is to be done another way."""
    if load_integer(frame, F.INFINITE) != 0:
        return
    rest, block = divmod(task, load_integer(frame, F.BLOCKS))
    group, panel_block = divmod(rest, load_integer(frame, F.PANEL_BLOCKS))
    rows, tile_rows = load_integer(frame, F.ROWS), load_integer(frame, F.TILE_ROWS)
    panels = (rows + tile_rows - 1) // tile_rows
    block_panels = load_integer(frame, F.BLOCK_PANELS)
    first_panel = panel_block * block_panels
    here_panels = min(block_panels, panels - first_panel)
    width = load_integer(frame, F.TILE_VECTORS) * simd.lanes
    first = block * width
    count = min(width, count_patches(frame) - first)
    depth, steps = load_integer(frame, F.DEPTH), load_integer(frame, F.STEPS)
    kernel, limits = load_integer(frame, F.KERNEL), load_integer(frame, F.LIMITS)
    size = simd.itemsize

    # The workspace: patches, sums, zeros, chunks. What a vector may spill comes after each of the matrices.
    patches = load_integer(frame, F.WORKSPACE) + slot * load_integer(frame, F.SLOT_BYTES)
    patch_step = steps * width + simd.lanes
    sums = patches + size * POINTS * patch_step
    sum_step = block_panels * tile_rows * width + simd.lanes
    nowhere = sums + size * POINTS * sum_step
    for i in range(0, 4 * simd.lanes, simd.lanes):
        store(simd, nowhere, i, zeros(simd))
    table = (nowhere + size * 4 * simd.lanes + 63) // 64 * 64
    row = group * rows + first_panel * tile_rows
    chunks = 0
    # Lanes without a patch, and what is read beyond the last sums, must not look infinite.
    if count < width:
        for i in range(0, POINTS * patch_step, simd.lanes):
            store(simd, patches, i, zeros(simd))
    for i in range(POINTS):
        store(simd, sums, (i + 1) * sum_step - simd.lanes, zeros(simd))

    across = (load_integer(frame, F.TAP_COLUMNS) + 2) // 3
    pieces = (load_integer(frame, F.TAP_ROWS) + 2) // 3 * across
    piece_step = tile_rows * depth + simd.lanes
    panel_step = pieces * piece_step
    weight_step = panels * panel_step
    weight = load_integer(frame, F.PANELS) + size * (POINTS * weight_step * group + first_panel * panel_step)
    images = load_integer(frame, F.TARGET)
    start = 0
    for piece in range(pieces):
        y, x = 3 * (piece // across), 3 * (piece % across)
        chunks = describe_chunks(simd, frame, images, group, row, first, count, y, x, nowhere, table)
        for k in range(0, depth, steps):
            here = min(steps, depth - k)
            read_patches(simd, k, k + here, chunks, table, width, patches, patch_step)
            for point in range(POINTS):
                right = patches + size * point * patch_step
                for panel in range(here_panels):
                    left = point * weight_step + panel * panel_step + piece * piece_step + k * tile_rows
                    target = sums + size * (point * sum_step + panel * tile_rows * width)
                    call(kernel, (here, weight + size * left, right, target, width, 0, start, limits))
            start = ACCUMULATE
    wanted = min(here_panels * tile_rows, rows - first_panel * tile_rows)
    if not _write_pixels(simd, frame, row, wanted, chunks, table, width, sums, sum_step, nowhere):
        store_integer(frame, F.INFINITE, 1)


@once
def weight_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that transforms a panel of the weight."""

    def transform_weight(frame, task, slot):
        _transform_weight(simd, frame, task, slot)

    return address_of(transform_weight, 3)


@once
def multiply_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that computes one block."""

    def multiply_patches(frame, task, slot):
        _multiply(simd, frame, task, slot)

    return address_of(multiply_patches, 3)
