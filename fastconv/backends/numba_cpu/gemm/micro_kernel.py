"""The micro-kernel: a tile of a matrix product in registers, one rank-1 update for each step of the reduction.

    c[i, j]  =  start[i, j] + sum over k of a[k, i] * b[k, j],      0 <= i < MR,  0 <= j < NR = vectors * lanes

a is a packed panel, (depth, MR), each step's elements side by side. In step k the kernel loads ``vectors`` registers of
b, broadcasts each a[k, i] from memory and does MR * vectors fused multiply-adds into as many accumulators, which LLVM
keeps in registers because they are phi nodes of a loop that writes no memory. There are three kinds, apart in where
b's rows are and how the tile is written; a fourth (conv/matmul/kernel.py) reads a and b in the order of their matrices:

    packed      b is a panel too, (depth, NR); c is the corner of a row-major matrix
    indirect    row k of b is at an offset of its own, k's entry in a table; each of c's vectors goes to pieces of
                several rows of an image
    by taps     the steps are all channels of each of some taps, whose offsets in a and b are in a table; a row's
                vectors are some distance apart; c is as for packed

Tile arithmetic. A multiply-add takes 4 cycles and two start in each (Zen 4 starts one of 512 bits), so 8 accumulators
are the least that can keep the units busy, and MR * vectors + vectors + 1 registers the most there are. Each
step loads vectors + MR numbers for MR * vectors multiply-adds: at 14 x 2 or 8 x 3 well below the two loads a cycle.
On a Zen 4 core with a peak of 115 GFLOP/s (float32), panels in cache: 14 x 2 vectors 113, 12 x 2 116, 8 x 3 115, 6 x 4
116, 8 x 2 116; with 256-bit vectors 6 x 2 114, 4 x 3 114. So MR may be what divides the channels best: `tile_vectors`.
Written with scalar loops and left to LLVM's vectoriser, the same product runs at a tenth of that.

After F. Van Zee and R. van de Geijn, "BLIS: a framework for rapidly instantiating BLAS functionality" (2015).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.jit import address_of, once
from fastconv.backends.numba_cpu.gemm.tile_emitter import Tile
from fastconv.backends.numba_cpu.simd import (
    Simd,
    mask_between,
    masked_store,
    vector_at,
)
from fastconv.backends.numba_cpu.simd.instruction_set import InstructionSet

_I64 = ir.IntType(64)

PIECE_WORDS = 3
"""Integers that say where a piece of a vector goes: lanes [0] up to [1], to the image at index [2] for lane 0."""


def most_rows(instructions: InstructionSet) -> int:
    """The largest MR worth having: with two vectors a row, as many accumulators as registers can hold."""
    return (instructions.registers - 3) // 2


def tile_vectors(rows: int, instructions: InstructionSet) -> int:
    """How many vectors wide a tile of ``rows`` rows should be: as many as registers allow, at most 4.

    A row of the tile takes its accumulators, a step takes ``vectors`` more and one for the broadcast.
    """
    return max(1, min(4, (instructions.registers - 1) // (rows + 1)))


@once
def packed(simd: Simd, rows: int, vectors: int) -> int:
    """The address of the packed kind for a tile of rows x vectors, compiled at the first call.

    It takes eight integers. depth: steps, at least 1. a, b, c: addresses. step: elements between rows of c. bias: the
    address of MR numbers, or 0 for none. start: 0 to begin at the bias, `ACCUMULATE` to add to c. floor: the address of
    the number below which no result may fall: 0 for ReLU, minus infinity for none; NaN stays.
    """

    def packed_kernel(depth, a, b, c, step, bias, start, floor):
        _packed_tile(simd, rows, vectors, depth, a, b, c, step, bias, start, floor)

    return address_of(packed_kernel, *[intp] * 8)


@once
def indirect(simd: Simd, rows: int, vectors: int, pieces: int) -> int:
    """The address of the indirect kind for a tile of rows x vectors, each in so many pieces, compiled at first.

    It takes nine integers. depth, a, bias, floor: as in `packed`. b, offsets: row k of b is at index offsets[k] of b.
    c, step: the image, and elements between its channels, one for each of the tile's rows. table: the address of
    `PIECE_WORDS` integers for each piece of each vector.
    """

    def indirect_kernel(depth, a, b, offsets, c, step, table, bias, floor):
        values = depth, a, b, offsets, c, step, table, bias, floor
        _indirect_tile(simd, rows, vectors, pieces, values)

    return address_of(indirect_kernel, *[intp] * 9)


@once
def by_taps(simd: Simd, rows: int, vectors: int) -> int:
    """The address of the kind by taps for a tile of rows x vectors, compiled at the first call.

    It takes twelve integers. taps, table: how many there are, perhaps none, and the address of two indices for each:
    where its first channel is in a and in b. channels: of each tap, MR elements apart in a, ``channel`` in b. a, b:
    addresses. channel; distance: elements between a row's vectors in b. c, step, bias, start, floor: as in `packed`.
    """

    def tap_kernel(taps, table, channels, a, b, channel, distance, c, step, bias, start, floor):
        values = taps, table, channels, a, b, channel, distance, c, step, bias, start, floor
        _tap_tile(simd, rows, vectors, values)

    return address_of(tap_kernel, *[intp] * 12)


@intrinsic(prefer_literal=True)
def _packed_tile(typing, simd, rows, vectors, depth, a, b, c, step, bias, start, floor):
    """See `packed`."""
    shape = rows.literal_value, vectors.literal_value

    def generate(context, builder, signature, arguments):
        tile = Tile(builder, simd, *shape)
        depth, a, b, c, step, bias, start, floor = arguments[3:]
        width = tile.number(tile.vectors * simd.simd.lanes)

        tile.ask_for_matrix(c, step)
        tile.reduce(depth, a, b, lambda k: builder.mul(k, width))
        tile.finish_matrix(c, step, bias, start, floor)
        return context.get_dummy_value()

    return types.void(simd, rows, vectors, *[intp] * 8), generate


@intrinsic(prefer_literal=True)
def _tap_tile(typing, simd, rows, vectors, values):
    """See `by_taps`."""
    shape = rows.literal_value, vectors.literal_value

    def generate(context, builder, signature, arguments):
        tile = Tile(builder, simd, *shape)
        values = cgutils.unpack_tuple(builder, arguments[3], 12)
        taps, table, channels, a, b, channel, distance, c, step, bias, start, floor = values
        tile.reduce_taps(taps, table, channels, a, b, channel, distance)
        tile.finish_matrix(c, step, bias, start, floor)
        return context.get_dummy_value()

    return types.void(simd, rows, vectors, types.UniTuple(intp, 12)), generate


@intrinsic(prefer_literal=True)
def _indirect_tile(typing, simd, rows, vectors, pieces, values):
    """See `indirect`."""
    shape, count = (rows.literal_value, vectors.literal_value), pieces.literal_value

    def generate(context, builder, signature, arguments):
        tile = Tile(builder, simd, *shape)
        depth, a, b, offsets, c, step, table, bias, floor = cgutils.unpack_tuple(builder, arguments[4], 9)
        lanes = simd.simd.lanes
        tile.reduce_in_blocks(depth, a, b, lambda k: tile.integer(offsets, k))
        goes = []
        for piece in range(tile.vectors * count):
            first, end, where = (
                tile.integer(table, tile.number(piece * PIECE_WORDS + word)) for word in range(PIECE_WORDS)
            )
            goes.append((first, end, mask_between(builder, lanes, first, end), where))

        def pointer(i: int, where: Any) -> Any:
            return vector_at(builder, simd, c, builder.add(builder.mul(step, tile.number(i)), where))

        def write(j: int, values: list[Any]) -> None:
            (_, _, mask, where), *others = goes[j * count : (j + 1) * count]
            for i, value in enumerate(values):
                masked_store(builder, value, pointer(i, where), mask, simd.simd.itemsize)
            # Most vectors lie in one row, and an empty store takes as long as a full one, some 3 cycles.
            for first, end, mask, where in others:
                with builder.if_then(builder.icmp_signed("<", first, end)):
                    for i, value in enumerate(values):
                        masked_store(builder, value, pointer(i, where), mask, simd.simd.itemsize)

        tile.finish_with_bias(bias, floor, write)
        return context.get_dummy_value()

    return types.void(simd, rows, vectors, pieces, types.UniTuple(intp, 9)), generate
