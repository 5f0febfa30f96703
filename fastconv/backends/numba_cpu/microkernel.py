"""The micro-kernel: a tile of a matrix product in registers, one rank-1 update for each step of the reduction.

    c[i, j]  =  start[i, j] + sum over k of a[k, i] * b[k, j],      0 <= i < MR,  0 <= j < NR = vectors * lanes

a is a packed panel, (depth, MR), each step's elements side by side. In step k the kernel loads ``vectors`` registers of
b, broadcasts each a[k, i] from memory and does MR * vectors fused multiply-adds into as many accumulators, which LLVM
keeps in registers because they are phi nodes of a loop that writes no memory. There are three kinds, apart in where
b's rows are and how the tile is written; a fourth (matrix.py) reads a and b in the order of their matrices:

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

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.jit import address_of, once
from fastconv.backends.numba_cpu.instruction_set import InstructionSet
from fastconv.backends.numba_cpu.simd import (
    Simd,
    SimdType,
    ask_for,
    broadcast_value,
    element,
    mask_between,
    masked_load,
    masked_store,
    multiply_add,
    raise_to,
    vector_at,
    vector_of,
)

_I64 = ir.IntType(64)

ACCUMULATE = 1
"""For ``start``: add to what c holds, instead of starting from the bias."""

BLOCK_STEPS = 512
"""Steps of the indirect kind whose products are added up by themselves. With 4,608 in one chain the error was 3.5 times
torch's; the packed kind is called for some hundred steps at a time."""

InA = Callable[[Any, int], Any]
"""The index in a of step k and row i."""

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

    return address_of(packed_kernel, 8)


@once
def indirect(simd: Simd, rows: int, vectors: int, pieces: int) -> int:
    """The address of the indirect kind for a tile of rows x vectors, each in so many pieces, compiled at first.

    It takes nine integers. depth, a, bias, floor: as in `packed`. b, offsets: row k of b is at index offsets[k] of b.
    c, step: the image, and elements between its channels, one for each of the tile's rows. table: the address of
    `PIECE_WORDS` integers for each piece of each vector.
    """

    def indirect_kernel(depth, a, b, offsets, c, step, table, bias, floor):
        _indirect_tile(simd, rows, vectors, pieces, depth, a, b, offsets, c, step, table, bias, floor)

    return address_of(indirect_kernel, 9)


@once
def by_taps(simd: Simd, rows: int, vectors: int) -> int:
    """The address of the kind by taps for a tile of rows x vectors, compiled at the first call.

    It takes twelve integers. taps, table: how many there are, perhaps none, and the address of two indices for each:
    where its first channel is in a and in b. channels: of each tap, MR elements apart in a, ``channel`` in b. a, b:
    addresses. channel; distance: elements between a row's vectors in b. c, step, bias, start, floor: as in `packed`.
    """

    def tap_kernel(taps, table, channels, a, b, channel, distance, c, step, bias, start, floor):
        _tap_tile(simd, rows, vectors, taps, table, channels, a, b, channel, distance, c, step, bias, start, floor)

    return address_of(tap_kernel, 12)


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
def _tap_tile(typing, simd, rows, vectors, taps, table, channels, a, b, channel, distance, c, step, bias, start, floor):
    """See `by_taps`."""
    shape = rows.literal_value, vectors.literal_value

    def generate(context, builder, signature, arguments):
        tile = Tile(builder, simd, *shape)
        taps, table, channels, a, b, channel, distance, c, step, bias, start, floor = arguments[3:]
        tile.reduce_taps(taps, table, channels, a, b, channel, distance)
        tile.finish_matrix(c, step, bias, start, floor)
        return context.get_dummy_value()

    return types.void(simd, rows, vectors, *[intp] * 12), generate


@intrinsic(prefer_literal=True)
def _indirect_tile(typing, simd, rows, vectors, pieces, depth, a, b, offsets, c, step, table, bias, floor):
    """See `indirect`."""
    shape, count = (rows.literal_value, vectors.literal_value), pieces.literal_value

    def generate(context, builder, signature, arguments):
        tile = Tile(builder, simd, *shape)
        depth, a, b, offsets, c, step, table, bias, floor = arguments[4:]
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

    return types.void(simd, rows, vectors, pieces, *[intp] * 9), generate


class Tile:
    """The instructions of a tile of ``rows`` x ``vectors``, as they are given to LLVM."""

    def __init__(self, builder: Any, simd: SimdType, rows: int, vectors: int) -> None:
        self.builder = builder
        self.simd = simd
        self.rows = rows
        self.vectors = vectors
        self.kind = vector_of(simd).llvm
        self.places = [(i, j) for i in range(rows) for j in range(vectors)]
        self.sums: dict[tuple[int, int], Any] = {}
        self.mask: Any = None
        """Of the last vector in each row of b and c, where that isn't whole."""

    def number(self, value: int) -> Any:
        return ir.Constant(_I64, value)

    def integer(self, base: Any, index: Any) -> Any:
        builder = self.builder
        return builder.load(builder.gep(builder.inttoptr(base, _I64.as_pointer()), [index]))

    def load(self, base: Any, index: Any, mask: Any = None) -> Any:
        pointer, alignment = vector_at(self.builder, self.simd, base, index), self.simd.simd.itemsize
        if mask is not None:
            return masked_load(self.builder, pointer, mask, ir.Constant(self.kind, None), alignment)
        value = self.builder.load(pointer)
        value.align = alignment
        return value

    def _mask_of(self, j: int) -> Any:
        """Of vector j of a row, if not all of its lanes may be touched."""
        return self.mask if j == self.vectors - 1 else None

    def spread(self, base: Any, index: Any) -> Any:
        """An element of an array in every lane."""
        scalar = self.builder.load(element(self.builder, self.simd, base, index))
        return broadcast_value(self.builder, scalar, self.kind.count)

    def reduce(self, depth: Any, a: Any, b: Any, row_of_b: Callable[[Any], Any], at: InA | None = None) -> None:
        """The loop over the steps; the sums are left in registers.

        ``at`` gives the index in a of step k and row i, where it isn't a packed panel.
        """
        self.sums = self._steps(self.number(0), depth, a, b, row_of_b, at or self._in_panel)

    def _in_panel(self, k: Any, i: int) -> Any:
        return self.builder.add(self.builder.mul(k, self.number(self.rows)), self.number(i))

    def reduce_in_blocks(self, depth: Any, a: Any, b: Any, row_of_b: Callable[[Any], Any]) -> None:
        """As `reduce`, adding up `BLOCK_STEPS` steps at a time: a long chain of float32 additions loses digits.

        The first block stands apart: totals don't fit in the registers beside its sums, and most tiles need none.
        """
        builder = self.builder

        def end_of(first: Any) -> Any:
            end = builder.add(first, self.number(BLOCK_STEPS))
            return builder.select(builder.icmp_signed("<", end, depth), end, depth)

        block, after = (builder.append_basic_block(name) for name in ("block", "blocks_done"))
        first_end = end_of(self.number(0))
        first_sums = self._steps(self.number(0), first_end, a, b, row_of_b, self._in_panel)
        before = builder.block
        builder.cbranch(builder.icmp_signed("<", first_end, depth), block, after)
        builder.position_at_end(block)
        first = builder.phi(_I64)
        totals = {place: builder.phi(self.kind) for place in self.places}
        end = end_of(first)
        sums = self._steps(first, end, a, b, row_of_b, self._in_panel)
        new = {place: builder.fadd(totals[place], sums[place]) for place in self.places}
        first.add_incoming(first_end, before)
        first.add_incoming(end, builder.block)
        for place in self.places:
            totals[place].add_incoming(first_sums[place], before)
            totals[place].add_incoming(new[place], builder.block)
        last = builder.block
        builder.cbranch(builder.icmp_signed("<", end, depth), block, after)
        builder.position_at_end(after)
        self.sums = {}
        for place in self.places:
            self.sums[place] = builder.phi(self.kind)
            self.sums[place].add_incoming(first_sums[place], before)
            self.sums[place].add_incoming(new[place], last)

    def _steps(
        self, first: Any, end: Any, a: Any, b: Any, row_of_b: Callable[[Any], Any], at: InA
    ) -> dict[tuple[int, int], Any]:
        """The sums over the steps ``first`` up to ``end``, at least one."""
        builder, lanes = self.builder, self.kind.count
        before = builder.block
        loop, after = (builder.append_basic_block(name) for name in ("step", "finish"))
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(_I64)
        k.add_incoming(first, before)
        sums, results = {}, {}
        for place in self.places:
            sums[place] = builder.phi(self.kind)
            sums[place].add_incoming(ir.Constant(self.kind, None), before)
        row = row_of_b(k)
        from_b = [self.load(b, builder.add(row, self.number(j * lanes)), self._mask_of(j)) for j in range(self.vectors)]
        for i in range(self.rows):
            from_a = self.spread(a, at(k, i))
            for j in range(self.vectors):
                results[i, j] = multiply_add(builder, from_a, from_b[j], sums[i, j])
        following = builder.add(k, self.number(1))
        k.add_incoming(following, loop)
        for place in self.places:
            sums[place].add_incoming(results[place], loop)
        builder.cbranch(builder.icmp_signed("<", following, end), loop, after)
        builder.position_at_end(after)
        return results

    def reduce_taps(self, taps: Any, table: Any, channels: Any, a: Any, b: Any, channel: Any, distance: Any) -> None:
        """The loops over taps, perhaps none, and over the channels of each, at least one."""
        builder = self.builder
        nothing, one = self.number(0), self.number(1)
        before = builder.block
        outer, inner, tap_done, after = (
            builder.append_basic_block(name) for name in ("tap", "channel", "tap_done", "taps_done")
        )
        builder.cbranch(builder.icmp_signed(">", taps, nothing), outer, after)

        def sums_in(block: Any) -> dict[tuple[int, int], Any]:
            builder.position_at_end(block)
            return {place: builder.phi(self.kind) for place in self.places}

        so_far, within, done = sums_in(outer), sums_in(inner), sums_in(after)
        builder.position_at_end(outer)
        t = builder.phi(_I64)
        word = builder.mul(t, self.number(2))
        begin_a, begin_b = self.integer(table, word), self.integer(table, builder.add(word, one))
        builder.branch(inner)

        builder.position_at_end(inner)
        k, row_of_a, row_of_b = (builder.phi(_I64) for _ in range(3))
        from_b = [
            self.load(b, builder.add(row_of_b, builder.mul(distance, self.number(j)))) for j in range(self.vectors)
        ]
        results = {}
        for i in range(self.rows):
            from_a = self.spread(a, builder.add(row_of_a, self.number(i)))
            for j in range(self.vectors):
                results[i, j] = multiply_add(builder, from_a, from_b[j], within[i, j])
        next_k = builder.add(k, one)
        steps = (next_k, builder.add(row_of_a, self.number(self.rows)), builder.add(row_of_b, channel))
        for phi, first, following in zip((k, row_of_a, row_of_b), (nothing, begin_a, begin_b), steps, strict=True):
            phi.add_incoming(first, outer)
            phi.add_incoming(following, inner)
        builder.cbranch(builder.icmp_signed("<", next_k, channels), inner, tap_done)

        builder.position_at_end(tap_done)
        next_t = builder.add(t, one)
        t.add_incoming(nothing, before)
        t.add_incoming(next_t, tap_done)
        builder.cbranch(builder.icmp_signed("<", next_t, taps), outer, after)
        for place in self.places:
            so_far[place].add_incoming(ir.Constant(self.kind, None), before)
            so_far[place].add_incoming(results[place], tap_done)
            within[place].add_incoming(so_far[place], outer)
            within[place].add_incoming(results[place], inner)
            done[place].add_incoming(ir.Constant(self.kind, None), before)
            done[place].add_incoming(results[place], tap_done)
        builder.position_at_end(after)
        self.sums = done

    def finish(self, start: Callable[[int, int], Any], floor: Any, write: Callable[[int, list[Any]], None]) -> None:
        """The epilogue of every kernel: adds where a sum starts from, and raises to the floor what is below it.

        ``write`` gets the number of a column of vectors, and what is to be written there, row by row.
        """
        builder = self.builder
        lowest = self.spread(floor, self.number(0))
        for j in range(self.vectors):
            totals = [builder.fadd(start(i, j), self.sums[i, j]) for i in range(self.rows)]
            write(j, [raise_to(builder, total, lowest) for total in totals])

    def finish_with_bias(self, bias: Any, floor: Any, write: Callable[[int, list[Any]], None]) -> None:
        """The epilogue of a sum that starts from the bias, if there is one."""
        builder = self.builder
        with builder.if_else(builder.icmp_signed("!=", bias, self.number(0))) as (biased, plain):
            with biased:
                self.finish(lambda i, j: self.spread(bias, self.number(i)), floor, write)
            with plain:
                self.finish(lambda i, j: ir.Constant(self.kind, None), floor, write)

    def _place(self, step: Any, i: int, j: int) -> Any:
        """Of a vector of the tile, in a row-major matrix whose rows are ``step`` elements apart."""
        return self.builder.add(self.builder.mul(step, self.number(i)), self.number(j * self.kind.count))

    def ask_for_matrix(self, c: Any, step: Any) -> None:
        """The lines of c are on their way while the sums are made."""
        for i, j in self.places:
            pointer = element(self.builder, self.simd, c, self._place(step, i, j))
            ask_for(self.builder, pointer, to_write=True)

    def finish_matrix(self, c: Any, step: Any, bias: Any, start: Any, floor: Any) -> None:
        """Write the tile to the corner of a row-major matrix, or add it to what is there."""
        builder = self.builder

        def write(j: int, values: list[Any]) -> None:
            for i, value in enumerate(values):
                pointer, mask = vector_at(builder, self.simd, c, self._place(step, i, j)), self._mask_of(j)
                if mask is not None:
                    masked_store(builder, value, pointer, mask, self.simd.simd.itemsize)
                else:
                    builder.store(value, pointer).align = self.simd.simd.itemsize

        with builder.if_else(builder.icmp_signed("==", start, self.number(ACCUMULATE))) as (accumulate, begin):
            with accumulate:
                self.finish(lambda i, j: self.load(c, self._place(step, i, j), self._mask_of(j)), floor, write)
            with begin:
                self.finish_with_bias(bias, floor, write)
