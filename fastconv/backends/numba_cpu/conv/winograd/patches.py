"""Winograd's convolution transforms patches of 4 x 4 pixels, two apart: a vector's lanes hold a row of patches.

Patches are numbered through the images of the batch; the patch at (i, j) belongs to the lattice points (2 i, 2 j) up
to (2 i + 1, 2 j + 1). A vector ends where a row of patches, or a block of them, ends: the patches fall into *chunks*.
The lanes of a chunk's vector beyond its patches are stored too, and the next chunk overwrites them, so rows of 4 or 7
patches are stored without gaps, like those of 28; only behind the last chunk there is room for a vector's end.

Patches are two columns apart, so each of a chunk's four rows is loaded in four vectors, two from the first column on
and two from the third, and de-interleaved. Pixels outside the image are lanes that a masked load leaves 0, or come from
a row of zeros. Some 70 cycles a chunk and channel: 16 loads, 16 shuffles, 32 additions, 16 stores.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.jit import inner
from fastconv.backends.numba_cpu.simd import (
    SimdType,
    bits_between,
    load_integer,
    load_vector,
    mask_of_bits,
    masked_load,
    shuffled,
    store_integer,
    store_vector,
    vector_at,
    vector_of,
)

_I64 = ir.IntType(64)

POINTS = 16
"""Count of numbers in a transformed patch, 4 x 4."""

CHUNK_WORDS = 18
"""Count of integers that describe a chunk: its first lane; the addresses of four rows in channel 0, the bytes from
there to the next channel, and four masks of columns; the address of its first pixel in the target, and masks of two
vectors in each of two rows."""


@intrinsic
def _transform(typing, simd, row0, row1, row2, row3, mask0, mask1, mask2, mask3, target, step):
    """Write B' d B of a vector of patches as the vectors target + i * step, 0 <= i < 16.

    ``row0`` to ``row3`` are the addresses of the first patch's first column in each row. The masks are integers and say
    which lanes are inside the image in the vectors 0, lanes, 2, and 2 + lanes columns from there.
    """

    def generate(context, builder, signature, arguments):
        rows, masks, (target, step) = arguments[1:5], arguments[5:9], arguments[9:]
        lanes = simd.simd.lanes
        columns: list[list[Any]] = []
        for first in (0, 2):
            pair = []
            for row in rows:
                parts = [ir.Constant(_I64, first + half) for half in (0, lanes)]
                inside = [mask_of_bits(builder, lanes, bits) for bits in masks[first : first + 2]]
                pair.append(load_pairs(builder, simd, row, parts, inside))
            columns.extend(_evaluate(builder, [both[column] for both in pair]) for column in range(2))
        store_points(
            builder, simd, [_evaluate(builder, [column[i] for column in columns]) for i in range(4)], target, step
        )
        return context.get_dummy_value()

    return types.void(simd, *[intp] * 10), generate


def load_pairs(builder: Any, simd: SimdType, base: Any, parts: list[Any], masks: list[Any]) -> list[Any]:
    """Load two vectors under masks; return the vector of their even elements and that of their odd elements."""
    lanes, nothing = simd.simd.lanes, ir.Constant(vector_of(simd).llvm, None)
    raw = [
        masked_load(builder, vector_at(builder, simd, base, part), mask, nothing, simd.simd.itemsize)
        for part, mask in zip(parts, masks, strict=True)
    ]
    return [shuffled(builder, raw[0], raw[1], list(range(first, 2 * lanes, 2))) for first in range(2)]


def store_points(builder: Any, simd: SimdType, points: list[list[Any]], target: Any, step: Any) -> None:
    """Write 4 x 4 vectors from ``target`` on, ``step`` elements apart."""
    for i, value in enumerate(value for row in points for value in row):
        store_vector(builder, simd, value, target, builder.mul(step, ir.Constant(_I64, i)))


def load_points(builder: Any, simd: SimdType, source: Any, step: Any) -> list[list[Any]]:
    """Return 4 x 4 vectors that lie ``step`` elements apart from ``source`` on."""
    places = [[builder.mul(step, ir.Constant(_I64, 4 * i + j)) for j in range(4)] for i in range(4)]
    return [[load_vector(builder, simd, source, place) for place in row] for row in places]


def _evaluate(builder: Any, d: list[Any]) -> list[Any]:
    """Return B' d for a column d of four vectors."""
    return [builder.fsub(d[0], d[2]), builder.fadd(d[1], d[2]), builder.fsub(d[2], d[1]), builder.fsub(d[1], d[3])]


@inner
def count_patches(args):
    """Return the number of patches in all images."""
    I, J = args.I, args.J
    return args.N * ((I + 1) // 2) * ((J + 1) // 2)


@inner
def describe_chunks(simd, args, target, group, row, first, count, down_by, right_by, nowhere, table):
    """Fill ``table`` with the chunks of patches ``first`` up to first + count; return the number of chunks.

    A chunk is a row of patches, at most a vector. Its target pixels are in channel ``row`` of the images at the address
    ``target``; ``nowhere`` is the address of zeros. Patches are read ``down_by`` rows below and ``right_by`` columns
    right of the place where the first taps read them.
    """
    H, W = args.H, args.W
    I, J = args.I, args.J
    down, across = (I + 1) // 2, (J + 1) // 2
    depth, groups = args.depth, args.groups
    channels = groups * args.rows
    source, size = args.source, simd.itemsize
    n, rest = divmod(first, down * across)
    i, j = divmod(rest, across)
    lane = 0
    chunks = 0
    while lane < count:
        here = min(simd.lanes, across - j, count - lane)
        base = table + 8 * CHUNK_WORDS * chunks
        y = 2 * i + down_by + args.first_y
        x = 2 * j + right_by + args.first_x
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
def read_patches(simd, first, end, chunks, table, width, target, step):
    """Transform the chunks' patches of channels ``first`` up to ``end`` into 16 matrices with one row a channel."""
    for c in range(first, end):
        row = target + simd.itemsize * (c - first) * width
        for chunk in range(chunks):
            base = table + 8 * CHUNK_WORDS * chunk
            _transform(
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
