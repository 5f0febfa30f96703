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
the definition needs 36. With 64 channels and more the transforms, a few additions each, take 10 to 15% of the time.

A task takes a block of NR patches, of all images side by side, and (where these are few) of target channels:

    for KC channels                      so that 16 x KC x NR transformed numbers stay in the L2 cache
        transform their patches          straight from the image, a row of patches in the lanes
        for each of the 16 products
            for panels of MR channels    one micro-kernel call; KC x NR of the patches stay in the L1 cache
    transform the sums                   into 2 x 2 pixels each, bias and floor, written where they belong

A row of patches starts every two pixels, so a vector of them is de-interleaved from loads of two vectors. Where a row
ends the vector does too, and what was computed beyond it is written all the same, for the next row to write over: rows
of 4 or 7 patches stand as close as those of 28.

Rounding. Sums are over channels only, a ninth of the definition's terms, in blocks of at most 128; that makes up for
what the transforms add. Root-mean-square error over that of torch's direct form, normal deviates and (in brackets)
positive ones: 0.9 (1.1) for 32 channels, 1.2 (1.4) for 64, 1.6 (1.9) for 128. F(4 x 4, 3 x 3), another 1.8 times fewer
multiplications, has 6 to 18 times the error and is not offered. An infinite or overflowing number would spread over its
patch, so the last transform looks for such: the plan then computes everything by `gemm`.

After A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016), and S. Winograd,
"Arithmetic complexity of computations" (1980).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.jit import address_of, inner
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.microkernel import ACCUMULATE
from fastconv.backends.numba_cpu.panels import is_finite, pack_panel
from fastconv.backends.numba_cpu.simd import (
    Simd,
    bits_between,
    broadcast_value,
    call,
    element,
    is_zero,
    load_integer,
    masked_load,
    masked_store,
    multiply_add,
    raise_to,
    store,
    store_integer,
    vector_at,
    vector_of,
    zeros,
)

_I32, _I64 = ir.IntType(32), ir.IntType(64)

POINTS = 16
"""Numbers of a transformed patch."""

PACKED_CHANNELS = 16
"""Channels of the weight that are packed at a time, in the L1 cache, before they are transformed."""

CHUNK_WORDS = 18
"""Integers that describe a chunk: its first lane; the addresses of four rows in channel 0, the bytes from there to the
next channel, and four masks of columns; its first pixel in the target, and masks of two vectors in each of two rows."""


def workspace_bytes(simd: Simd, steps: int, tile_rows: int, block_panels: int, tile_vectors: int) -> int:
    """What a slot needs: the transformed patches, their sums, a row of zeros, and what describes the chunks."""
    width = tile_vectors * simd.lanes
    patches = POINTS * (steps * width + simd.lanes)
    sums = POINTS * (block_panels * tile_rows * width + simd.lanes)
    packing = (9 * PACKED_CHANNELS + 1) * (tile_rows + simd.lanes)
    numbers = max(patches, packing) + sums + 4 * simd.lanes
    return -(-numbers * simd.itemsize // 64) * 64 + 8 * CHUNK_WORDS * width


def weight_numbers(simd: Simd, panels: int, tile_rows: int, channels: int) -> int:
    """Numbers of a transformed weight: 16 matrices of panels, each panel followed by what a vector may spill."""
    return POINTS * panels * (tile_rows * channels + simd.lanes)


@intrinsic
def _transform_patches(typing, simd, row0, row1, row2, row3, mask0, mask1, mask2, mask3, target, step):
    """A vector of patches to the vectors target + i * step, 0 <= i < 16.

    The rows are addresses of the first patch's first column in each. The masks, as integers, say which lanes are inside
    the image in the vectors 0, lanes, 2, and 2 + lanes columns from there.
    """

    def generate(context, builder, signature, arguments):
        rows, masks, (target, step) = arguments[1:5], arguments[5:9], arguments[9:]
        lanes = simd.simd.lanes
        bits = ir.VectorType(ir.IntType(1), lanes)
        masks = [builder.bitcast(builder.trunc(mask, ir.IntType(lanes)), bits) for mask in masks]
        nothing = ir.Constant(vector_of(simd).llvm, None)
        columns: list[list[Any]] = []
        for pair in range(2):
            raw = []
            for row in rows:
                near, far = (
                    masked_load(
                        builder,
                        vector_at(builder, simd, row, ir.Constant(_I64, 2 * pair + lanes * half)),
                        masks[2 * pair + half],
                        nothing,
                        simd.simd.itemsize,
                    )
                    for half in range(2)
                )
                raw.append([_every_second(builder, near, far, first) for first in range(2)])
            columns.extend(_evaluate(builder, [each[first] for each in raw]) for first in range(2))
        for i in range(4):
            for j, value in enumerate(_evaluate(builder, [column[i] for column in columns])):
                place = builder.mul(step, ir.Constant(_I64, 4 * i + j))
                builder.store(value, vector_at(builder, simd, target, place)).align = simd.simd.itemsize
        return context.get_dummy_value()

    return types.void(simd, *[intp] * 10), generate


def _every_second(builder: Any, near: Any, far: Any, first: int) -> Any:
    lanes = near.type.count
    order = ir.Constant(ir.VectorType(_I32, lanes), [2 * lane + first for lane in range(lanes)])
    return builder.shuffle_vector(near, far, order)


def _evaluate(builder: Any, d: list[Any]) -> list[Any]:
    """B' d."""
    return [builder.fsub(d[0], d[2]), builder.fadd(d[1], d[2]), builder.fsub(d[2], d[1]), builder.fsub(d[1], d[3])]


def _interpolate(builder: Any, m: list[Any]) -> list[Any]:
    """A' m."""
    return [builder.fadd(builder.fadd(m[0], m[1]), m[2]), builder.fsub(builder.fsub(m[1], m[2]), m[3])]


@intrinsic
def _transform_taps(typing, simd, source, source_step, target, target_step):
    """A vector of kernels, whose taps are at source + t * source_step, to target + i * target_step, 0 <= i < 16."""

    def generate(context, builder, signature, arguments):
        _, source, source_step, target, target_step = arguments
        half = ir.Constant(vector_of(simd).llvm, [0.5] * simd.simd.lanes)

        def evaluate(g: list[Any]) -> list[Any]:
            ends = builder.fmul(builder.fadd(g[0], g[2]), half)
            return [g[0], multiply_add(builder, g[1], half, ends), builder.fsub(ends, builder.fmul(g[1], half)), g[2]]

        taps = []
        for t in range(9):
            place = builder.mul(source_step, ir.Constant(_I64, t))
            taps.append(builder.load(vector_at(builder, simd, source, place)))
            taps[-1].align = simd.simd.itemsize
        columns = [evaluate([taps[3 * r + s] for r in range(3)]) for s in range(3)]
        for i in range(4):
            for j, value in enumerate(evaluate([column[i] for column in columns])):
                place = builder.mul(target_step, ir.Constant(_I64, 4 * i + j))
                builder.store(value, vector_at(builder, simd, target, place)).align = simd.simd.itemsize
        return context.get_dummy_value()

    return types.void(simd, *[intp] * 4), generate


@intrinsic
def _transform_sums(typing, simd, source, step, bias, floor, target, below, mask0, mask1, mask2, mask3, odd):
    """Vectors source + i * step, 0 <= i < 16, to 2 x 2 pixels each, from ``target`` on and from ``below`` on.

    ``bias`` and ``floor`` are addresses of numbers; the masks say which lanes to write of the two vectors in each row.
    The result is ``odd``, made NaN where a pixel was infinite or NaN.
    """

    def generate(context, builder, signature, arguments):
        _, source, step, bias, floor, target, below, *masks, odd = arguments
        lanes, kind = simd.simd.lanes, vector_of(simd).llvm
        bits = ir.VectorType(ir.IntType(1), lanes)
        masks = [builder.bitcast(builder.trunc(mask, ir.IntType(lanes)), bits) for mask in masks]
        spread = [
            broadcast_value(builder, builder.load(element(builder, simd, base, ir.Constant(_I64, 0))), lanes)
            for base in (bias, floor)
        ]
        columns = []
        for j in range(4):
            column = []
            for i in range(4):
                place = builder.mul(step, ir.Constant(_I64, 4 * i + j))
                column.append(builder.load(vector_at(builder, simd, source, place)))
                column[-1].align = simd.simd.itemsize
            columns.append(_interpolate(builder, column))
        nothing = ir.Constant(kind, None)
        for row, address in enumerate((target, below)):
            pixels = []
            for value in _interpolate(builder, [column[row] for column in columns]):
                odd = multiply_add(builder, value, nothing, odd)
                pixels.append(raise_to(builder, builder.fadd(value, spread[0]), spread[1]))
            for half in range(2):
                order = [lane // 2 + half * lanes // 2 + (lanes if lane % 2 else 0) for lane in range(lanes)]
                both = builder.shuffle_vector(*pixels, ir.Constant(ir.VectorType(_I32, lanes), order))
                pointer = vector_at(builder, simd, address, ir.Constant(_I64, half * lanes))
                masked_store(builder, both, pointer, masks[2 * row + half], simd.simd.itemsize)
        return odd

    return vector_of(simd)(simd, *[intp] * 10, vector_of(simd)), generate


@inner
def _transform_weight(simd, frame, task, slot):
    """Panel number ``task`` of the weight, counted through the groups."""
    rows, tile_rows = load_integer(frame, F.ROWS), load_integer(frame, F.TILE_ROWS)
    depth = load_integer(frame, F.DEPTH)
    panels = (rows + tile_rows - 1) // tile_rows
    group, panel = divmod(task, panels)
    panel_step = tile_rows * depth + simd.lanes
    matrix = panels * panel_step
    target = load_integer(frame, F.PANELS) + simd.itemsize * (POINTS * matrix * group + panel * panel_step)
    packed = load_integer(frame, F.WORKSPACE) + slot * load_integer(frame, F.SLOT_BYTES)
    odd = 0
    for first in range(0, depth, PACKED_CHANNELS):
        here = min(PACKED_CHANNELS, depth - first)
        pack_panel(simd, frame, group, panel, first, here, packed)
        if not is_finite(simd, packed, here * 9 * tile_rows):
            odd = 1
        for c in range(here):
            for i in range(0, tile_rows, simd.lanes):
                taps = packed + simd.itemsize * (9 * c * tile_rows + i)
                place = target + simd.itemsize * ((first + c) * tile_rows + i)
                _transform_taps(simd, taps, tile_rows, place, matrix)
    if odd:
        store_integer(frame, F.INFINITE, 1)


@inner
def _describe_chunks(simd, frame, group, row, first, count, nowhere, table):
    """Into how many chunks - rows of patches, at most a vector - the patches ``first`` up to first + count fall.

    ``row`` is the target channel that places in the target are given for.
    """
    H, W = load_integer(frame, F.H), load_integer(frame, F.W)
    I, J = load_integer(frame, F.I), load_integer(frame, F.J)
    down, across = (I + 1) // 2, (J + 1) // 2
    depth, groups = load_integer(frame, F.DEPTH), load_integer(frame, F.GROUPS)
    channels = groups * load_integer(frame, F.ROWS)
    source, target, size = load_integer(frame, F.SOURCE), load_integer(frame, F.TARGET), simd.itemsize
    n, rest = divmod(first, down * across)
    i, j = divmod(rest, across)
    lane = 0
    chunks = 0
    while lane < count:
        here = min(simd.lanes, across - j, count - lane)
        base = table + 8 * CHUNK_WORDS * chunks
        y, x = 2 * i + load_integer(frame, F.FIRST_Y), 2 * j + load_integer(frame, F.FIRST_X)
        image = (n * groups + group) * depth * H
        store_integer(base, 0, lane)
        for a in range(4):
            # A row outside the image is a row of zeros, the same in all channels.
            there = y + a >= 0 and y + a < H
            store_integer(base, 1 + a, source + size * ((image + y + a) * W + x) if there else nowhere)
            store_integer(base, 5 + a, size * H * W if there else 0)
            ahead = x + (a & 2) + (a & 1) * simd.lanes
            store_integer(base, 9 + a, bits_between(simd, -ahead, W - ahead))
        store_integer(base, 13, target + size * (((n * channels + row) * I + 2 * i) * J + 2 * j))
        pixels = min(2 * here, J - 2 * j)
        for a in range(2):
            wanted = pixels if 2 * i + a < I else 0
            store_integer(base, 14 + 2 * a, bits_between(simd, 0, wanted))
            store_integer(base, 15 + 2 * a, bits_between(simd, 0, wanted - simd.lanes))
        chunks += 1
        lane += here
        j += here
        if j == across:
            j = 0
            i += 1
            if i == down:
                i = 0
                n += 1
    return chunks


@inner
def _read_patches(simd, first, end, chunks, table, width, target, step):
    """Channels ``first`` up to ``end``, the patches of the chunks side by side, into 16 matrices of so many rows."""
    for c in range(first, end):
        row = target + simd.itemsize * (c - first) * width
        for chunk in range(chunks):
            base = table + 8 * CHUNK_WORDS * chunk
            _transform_patches(
                simd,
                load_integer(base, 1) + c * load_integer(base, 5),
                load_integer(base, 2) + c * load_integer(base, 6),
                load_integer(base, 3) + c * load_integer(base, 7),
                load_integer(base, 4) + c * load_integer(base, 8),
                load_integer(base, 9),
                load_integer(base, 10),
                load_integer(base, 11),
                load_integer(base, 12),
                row + simd.itemsize * load_integer(base, 0),
                step,
            )


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
    """One block of patches by one block of target channels in one group."""
    rest, block = divmod(task, load_integer(frame, F.BLOCKS))
    group, panel_block = divmod(rest, load_integer(frame, F.PANEL_BLOCKS))
    rows, tile_rows = load_integer(frame, F.ROWS), load_integer(frame, F.TILE_ROWS)
    panels = (rows + tile_rows - 1) // tile_rows
    block_panels = load_integer(frame, F.BLOCK_PANELS)
    first_panel = panel_block * block_panels
    here_panels = min(block_panels, panels - first_panel)
    width = load_integer(frame, F.TILE_VECTORS) * simd.lanes
    I, J = load_integer(frame, F.I), load_integer(frame, F.J)
    first = block * width
    count = min(width, load_integer(frame, F.N) * ((I + 1) // 2) * ((J + 1) // 2) - first)
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
    chunks = _describe_chunks(simd, frame, group, row, first, count, nowhere, table)
    # Lanes without a patch, and what is read beyond the last sums, must not look infinite.
    if count < width:
        for i in range(0, POINTS * patch_step, simd.lanes):
            store(simd, patches, i, zeros(simd))
    for i in range(POINTS):
        store(simd, sums, (i + 1) * sum_step - simd.lanes, zeros(simd))

    panel_step = tile_rows * depth + simd.lanes
    weight_step = panels * panel_step
    weight = load_integer(frame, F.PANELS) + size * (POINTS * weight_step * group + first_panel * panel_step)
    for k in range(0, depth, steps):
        here = min(steps, depth - k)
        _read_patches(simd, k, k + here, chunks, table, width, patches, patch_step)
        start = ACCUMULATE if k > 0 else 0
        for point in range(POINTS):
            right = patches + size * point * patch_step
            for panel in range(here_panels):
                left = weight + size * (point * weight_step + panel * panel_step + k * tile_rows)
                target = sums + size * (point * sum_step + panel * tile_rows * width)
                call(kernel, (here, left, right, target, width, 0, start, limits))
    wanted = min(here_panels * tile_rows, rows - first_panel * tile_rows)
    if not _write_pixels(simd, frame, row, wanted, chunks, table, width, sums, sum_step, nowhere):
        store_integer(frame, F.INFINITE, 1)


@cache
def weight_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that transforms a panel of the weight."""

    def transform_weight(frame, task, slot):
        _transform_weight(simd, frame, task, slot)

    return address_of(transform_weight, 3)


@cache
def multiply_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that computes one block."""

    def multiply_patches(frame, task, slot):
        _multiply(simd, frame, task, slot)

    return address_of(multiply_patches, 3)
