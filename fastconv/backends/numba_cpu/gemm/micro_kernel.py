"""The micro-kernel computes a tile of a matrix product in registers, one rank-1 update for each step of the reduction.

    c[i, j]  =  start[i, j] + sum over k of a[k, i] * b[k, j],      0 <= i < MR,  0 <= j < NR = vectors * lanes

a is a packed panel, (depth, MR); the MR elements of a step are contiguous. In step k the kernel loads ``vectors``
registers of b, broadcasts each a[k, i] from memory and does MR * vectors fmas into as many accumulators, which LLVM
keeps in registers because they are phi nodes of a loop that writes no memory. There are three kinds, which differ in
where the rows of b are and how the tile is written; a fourth (conv/matmul/kernel.py) reads a and b from matrices that
are not packed:

    packed      b is a panel too, (depth, NR); c is the corner of a row-major matrix; both panels are prefetched
    indirect    a table gives the offset of each row k of b; each vector of c is written in pieces, to several rows of
                an image
    by taps     the steps are taps x channels; a table gives each tap's offsets in a and b; the vectors of a row of b
                are at a constant distance; c is as for packed

Tile arithmetic. An fma takes 4 cycles and two start in each (Zen 4 starts one of 512 bits), so at least 8 accumulators
are needed to keep the units busy, and MR * vectors + vectors + 1 must not exceed the number of registers. Each
step loads vectors + MR numbers for MR * vectors fmas: at 14 x 2 or 8 x 3 well below the two loads a cycle.
On a Zen 4 core with a peak of 115 GFLOP/s (float32), panels in cache: 14 x 2 vectors 113, 12 x 2 116, 8 x 3 115, 6 x 4
116, 8 x 2 116; with 256-bit vectors 6 x 2 114, 4 x 3 114. So MR may be the value that divides the number of channels
best: `tile_vectors`. Plain Numba loops reach less of the peak (docs/cpu.md, a Zen 5 core): 10% with pixels innermost,
26% with four filters and three taps a pass; 83% as a tile written out, whose vectors LLVM finds in straight lines.

After F. Van Zee and R. van de Geijn, "BLIS: a framework for rapidly instantiating BLAS functionality" (2015).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import Kernel, cgutils, compiled, integers, intrinsic, types
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
"""Integers that describe a piece of a vector: its lanes, from [0] up to [1], and [2], the index in c of lane 0."""


def most_rows(instructions: InstructionSet) -> int:
    """Return the largest useful MR: with two vectors a row, its accumulators fill the registers."""
    return (instructions.registers - 3) // 2


def tile_vectors(rows: int, instructions: InstructionSet) -> int:
    """Return the best width of a tile of ``rows`` rows, in vectors: as many as registers allow, at most 4.

    The accumulators take rows * vectors registers, a step takes ``vectors`` more and one for the broadcast.
    """
    return max(1, min(4, (instructions.registers - 1) // (rows + 1)))


@compiled
def packed(simd: Simd, rows: int, vectors: int) -> Kernel:
    """Return the address of the packed kind for a tile of rows x vectors, compiled at the first call.

    It takes eight integers. depth: steps, at least 1. a, b, c: addresses. step: elements between rows of c. bias: the
    address of MR numbers, or 0 for none. start: the address of a matrix in the layout of c that is added, or 0 for
    none; it is c itself where the sums of former steps are there. limits: the address of the lower and the upper limit
    of every result, as 0 and infinity for ReLU; a NaN stays NaN.
    """

    def packed_kernel(depth, a, b, c, step, bias, start, limits):
        _packed_tile(simd, rows, vectors, depth, a, b, c, step, bias, start, limits)

    return integers(packed_kernel)


@compiled
def indirect(simd: Simd, rows: int, vectors: int, pieces: int) -> Kernel:
    """Return the address of the indirect kind, with ``pieces`` pieces a vector, compiled at the first call.

    It takes nine integers. depth, a, bias, limits: as in `packed`. b, offsets: row k of b is at index offsets[k] of b.
    c, step: the address of the image, and elements between its channels; each row of the tile is a channel. table: the
    address of `PIECE_WORDS` integers for each piece of each vector.
    """

    def indirect_kernel(depth, a, b, offsets, c, step, table, bias, limits):
        values = depth, a, b, offsets, c, step, table, bias, limits
        _indirect_tile(simd, rows, vectors, pieces, values)

    return integers(indirect_kernel)


@compiled
def by_taps(simd: Simd, rows: int, vectors: int) -> Kernel:
    """Return the address of the kind by taps for a tile of rows x vectors, compiled at the first call.

    It takes twelve integers. taps: the number of taps, which may be 0. table: the address of two indices for each tap,
    of its first channel in a and in b. channels: the number of channels of each tap; they are MR elements apart in a
    and ``channel`` elements in b. a, b: addresses. distance: elements between the vectors of a row of b. c, step, bias,
    start, limits: as in `packed`.
    """

    def tap_kernel(taps, table, channels, a, b, channel, distance, c, step, bias, start, limits):
        values = taps, table, channels, a, b, channel, distance, c, step, bias, start, limits
        _tap_tile(simd, rows, vectors, values)

    return integers(tap_kernel)


@intrinsic(prefer_literal=True)
def _packed_tile(typing, simd, rows, vectors, depth, a, b, c, step, bias, start, limits):
    """Emit the instructions of the kernel that `packed` compiles."""
    shape = rows.literal_value, vectors.literal_value

    def generate(context, builder, signature, arguments):
        tile = Tile(builder, simd, *shape)
        depth, a, b, c, step, bias, start, limits = arguments[3:]
        width = tile.number(tile.vectors * simd.simd.lanes)

        def prefetch(k: Any, later: Any) -> None:
            tile.prefetch_vectors(b, builder.mul(later, width), tile.vectors)
            tile.prefetch_vectors(a, builder.mul(later, tile.number(tile.rows)))

        tile.prefetch_matrix(c, step)
        tile.reduce(depth, a, b, lambda k: builder.mul(k, width), prefetch=prefetch)
        tile.finish_matrix(c, step, bias, start, limits)
        return context.get_dummy_value()

    return types.void(simd, rows, vectors, *[types.intp] * 8), generate


@intrinsic(prefer_literal=True)
def _tap_tile(typing, simd, rows, vectors, values):
    """Emit the instructions of the kernel that `by_taps` compiles."""
    shape = rows.literal_value, vectors.literal_value

    def generate(context, builder, signature, arguments):
        tile = Tile(builder, simd, *shape)
        values = cgutils.unpack_tuple(builder, arguments[3], 12)
        taps, table, channels, a, b, channel, distance, c, step, bias, start, limits = values
        tile.reduce_taps(taps, table, channels, a, b, channel, distance)
        tile.finish_matrix(c, step, bias, start, limits)
        return context.get_dummy_value()

    return types.void(simd, rows, vectors, types.UniTuple(types.intp, 12)), generate


@intrinsic(prefer_literal=True)
def _indirect_tile(typing, simd, rows, vectors, pieces, values):
    """Emit the instructions of the kernel that `indirect` compiles."""
    shape, count = (rows.literal_value, vectors.literal_value), pieces.literal_value

    def generate(context, builder, signature, arguments):
        tile = Tile(builder, simd, *shape)
        depth, a, b, offsets, c, step, table, bias, limits = cgutils.unpack_tuple(builder, arguments[4], 9)
        lanes, nothing = simd.simd.lanes, tile.number(0)

        def word(piece: int, number: int) -> Any:
            return tile.integer(table, tile.number(piece * PIECE_WORDS + number))

        for j in range(tile.vectors):
            tile.prefetch_column(c, step, word(j * count, 2))
        tile.reduce_in_blocks(depth, a, b, lambda k: tile.integer(offsets, k))
        goes = []
        for piece in range(tile.vectors * count):
            first, end, where = (word(piece, number) for number in range(PIECE_WORDS))
            goes.append((first, end, mask_between(builder, lanes, first, end), where))

        def pointer(i: int, where: Any) -> Any:
            return vector_at(builder, simd, c, builder.add(builder.mul(step, tile.number(i)), where))

        def write_where(values: list[Any], mask: Any, where: Any) -> None:
            for i, value in enumerate(values):
                masked_store(builder, value, pointer(i, where), mask, simd.simd.itemsize)

        def write(j: int, values: list[Any]) -> None:
            (first, end, mask, where), *others = goes[j * count : (j + 1) * count]
            begins, ends = builder.icmp_signed("<=", first, nothing), builder.icmp_signed(">=", end, tile.number(lanes))
            # Stores with a mask to lines that no cache holds wait for each other: with a store for whole vectors and
            # the prefetches above, 3 channels to 64 at 32 x 32 pixels take 4 ms for 128 images instead of 10.
            with builder.if_else(builder.and_(begins, ends)) as (whole, some):
                with whole:
                    for i, value in enumerate(values):
                        builder.store(value, pointer(i, where)).align = simd.simd.itemsize
                with some:
                    write_where(values, mask, where)
            # Most vectors lie in one row, and a store with an empty mask takes as long as a full one, some 3 cycles.
            for first, end, mask, where in others:
                with builder.if_then(builder.icmp_signed("<", first, end)):
                    write_where(values, mask, where)

        tile.finish(bias, limits, write)
        return context.get_dummy_value()

    return types.void(simd, rows, vectors, pieces, types.UniTuple(types.intp, 9)), generate
