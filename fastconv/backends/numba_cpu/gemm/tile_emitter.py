"""This module emits a micro-kernel's LLVM instructions: the loops over the reduction, and the epilogue.

The accumulators are phi nodes of a loop that writes no memory, so LLVM keeps them in registers. See micro_kernel.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from fastconv.backends.compiler import cgutils
from fastconv.backends.numba_cpu.simd import (
    broadcast_value,
    clamped,
    element,
    masked_load,
    masked_store,
    multiply_add,
    prefetch_line,
    vector_at,
    vector_of,
)

if TYPE_CHECKING:
    from fastconv.backends.numba_cpu.simd.numba_types import SimdType

_I64 = ir.IntType(64)

BLOCK_STEPS = 512
"""Steps of the indirect kind that are added up in one chain, before the sums are added to the totals. With 4,608 in one
chain the error was 3.5 times torch's; the packed kind is called for some hundred steps at a time."""

STEPS_AHEAD = 16
"""Steps between the prefetch of a row of b and its use. A step of 27 multiply-adds takes 14 cycles and its loads 6, so
prefetches cost nothing, and 16 steps are as long as a line takes from the L3 cache. Rows behind the last one are
prefetched, too: a choice in each step, which leaves them out, makes products a third slower."""

InA = Callable[[Any, int], Any]
"""A function that returns the index in a of step k and row i."""


class Tile:
    """A `Tile` emits the instructions of a tile of ``rows`` x ``vectors``."""

    def __init__(self, builder: Any, simd: SimdType, rows: int, vectors: int) -> None:
        self.builder = builder
        self.simd = simd
        self.rows = rows
        self.vectors = vectors
        self.kind = vector_of(simd).llvm
        self.places = [(i, j) for i in range(rows) for j in range(vectors)]
        self.sums: dict[tuple[int, int], Any] = {}
        self.mask: Any = None
        """The mask of the last vector in each row of b and c, or None if all of its lanes are used."""

    def number(self, value: int) -> Any:
        """Return a 64-bit integer constant."""
        return ir.Constant(_I64, value)

    def integer(self, base: Any, index: Any) -> Any:
        """Load 64-bit integer ``index`` of the array at ``base``."""
        builder = self.builder
        return builder.load(builder.gep(builder.inttoptr(base, _I64.as_pointer()), [index]))

    def load(self, base: Any, index: Any, mask: Any = None) -> Any:
        """Load the vector that starts at element ``index``; lanes outside ``mask``, if given, are 0."""
        pointer, alignment = vector_at(self.builder, self.simd, base, index), self.simd.simd.itemsize
        if mask is not None:
            return masked_load(self.builder, pointer, mask, ir.Constant(self.kind, None), alignment)
        value = self.builder.load(pointer)
        value.align = alignment
        return value

    def _mask_of(self, j: int) -> Any:
        """Return the mask of vector j of a row, or None if all of its lanes may be touched."""
        return self.mask if j == self.vectors - 1 else None

    def spread(self, base: Any, index: Any) -> Any:
        """Load an element of an array into every lane of a vector."""
        scalar = self.builder.load(element(self.builder, self.simd, base, index))
        return broadcast_value(self.builder, scalar, self.kind.count)

    def reduce(
        self,
        depth: Any,
        a: Any,
        b: Any,
        row_of_b: Callable[[Any], Any],
        at: InA | None = None,
        prefetch: Callable[[Any, Any], None] | None = None,
    ) -> None:
        """Emit the loop over the steps; the sums stay in registers.

        ``at`` gives the index in a of step k and row i, if a isn't a packed panel. ``prefetch`` emits the prefetches of
        step k, given k and the step whose row of b is to be prefetched.
        """
        self.sums = self._steps(self.number(0), depth, a, b, row_of_b, at or self._in_panel, prefetch)

    def prefetch_vectors(self, base: Any, index: Any, vectors: int = 1) -> None:
        """Emit prefetches of the lines of some vectors, from element ``index`` on."""
        for j in range(vectors):
            place = self.builder.add(index, self.number(j * self.kind.count))
            prefetch_line(self.builder, element(self.builder, self.simd, base, place), to_write=False)

    def _in_panel(self, k: Any, i: int) -> Any:
        return self.builder.add(self.builder.mul(k, self.number(self.rows)), self.number(i))

    def reduce_in_blocks(self, depth: Any, a: Any, b: Any, row_of_b: Callable[[Any], Any]) -> None:
        """Emit the loop of `reduce` in blocks of `BLOCK_STEPS` steps: a long chain of float32 additions loses digits.

        The first block is separate: totals don't fit in the registers beside its sums, and most tiles need none.
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
        self,
        first: Any,
        end: Any,
        a: Any,
        b: Any,
        row_of_b: Callable[[Any], Any],
        at: InA,
        prefetch: Callable[[Any, Any], None] | None = None,
    ) -> dict[tuple[int, int], Any]:
        """Emit a loop over the steps ``first`` up to ``end``, at least one; return its sums."""
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
        if prefetch is not None:
            prefetch(k, builder.add(k, self.number(STEPS_AHEAD)))
        k.add_incoming(following, loop)
        for place in self.places:
            sums[place].add_incoming(results[place], loop)
        builder.cbranch(builder.icmp_signed("<", following, end), loop, after)
        builder.position_at_end(after)
        return results

    def reduce_taps(self, taps: Any, table: Any, channels: Any, a: Any, b: Any, channel: Any, distance: Any) -> None:
        """Emit the loops over the taps, which may be none, and over the channels of each tap, at least one."""
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

    def finish(
        self,
        bias: Any,
        limits: Any,
        write: Callable[[int, list[Any]], None],
        added: Callable[[int, int], Any] | None = None,
    ) -> None:
        """Emit the epilogue of every kernel: add the bias to each sum, and what ``added`` gives, and clamp the results.

        ``bias`` is the address of a number for each row, or 0 for none, ``limits`` that of two numbers, the lower and
        the upper limit. ``write`` gets the index of a column of vectors, and the values to be written there, one for
        each row.
        """
        builder = self.builder
        # Zeros stand for no bias: a second epilogue without one would make the kernels a third longer.
        zeros = cgutils.global_constant(
            builder, "no_bias", ir.Constant(ir.ArrayType(self.kind.element, self.rows), None)
        )
        none = builder.icmp_signed("==", bias, self.number(0))
        given = builder.select(none, builder.ptrtoint(zeros, _I64), bias)
        lowest, highest = (self.spread(limits, self.number(i)) for i in range(2))
        for j in range(self.vectors):
            totals = [builder.fadd(self.spread(given, self.number(i)), self.sums[i, j]) for i in range(self.rows)]
            if added is not None:
                totals = [builder.fadd(total, added(i, j)) for i, total in enumerate(totals)]
            write(j, [clamped(builder, total, lowest, highest) for total in totals])

    def _place(self, step: Any, i: int, j: int) -> Any:
        """Return the index of vector (i, j) of the tile in a row-major matrix with rows ``step`` elements apart."""
        return self.builder.add(self.builder.mul(step, self.number(i)), self.number(j * self.kind.count))

    def prefetch_matrix(self, c: Any, step: Any) -> None:
        """Prefetch the cache lines of c, so that they arrive while the sums are computed."""
        for j in range(self.vectors):
            self.prefetch_column(c, step, self.number(j * self.kind.count))

    def prefetch_column(self, c: Any, step: Any, first: Any) -> None:
        """Prefetch the cache lines of a column of vectors of c; ``first`` is the index of the first one."""
        for i in range(self.rows):
            place = self.builder.add(self.builder.mul(step, self.number(i)), first)
            prefetch_line(self.builder, element(self.builder, self.simd, c, place), to_write=True)

    def finish_matrix(self, c: Any, step: Any, bias: Any, start: Any, limits: Any) -> None:
        """Write the tile to the corner of a row-major matrix; add what is at ``start`` in the same layout, unless 0."""
        builder = self.builder

        def write(j: int, values: list[Any]) -> None:
            for i, value in enumerate(values):
                pointer, mask = vector_at(builder, self.simd, c, self._place(step, i, j)), self._mask_of(j)
                if mask is not None:
                    masked_store(builder, value, pointer, mask, self.simd.simd.itemsize)
                else:
                    builder.store(value, pointer).align = self.simd.simd.itemsize

        def added(i: int, j: int) -> Any:
            return self.load(start, self._place(step, i, j), self._mask_of(j))

        with builder.if_else(builder.icmp_signed("==", start, self.number(0))) as (begin, add):
            with begin:
                self.finish(bias, limits, write)
            with add:
                self.finish(bias, limits, write, added)
