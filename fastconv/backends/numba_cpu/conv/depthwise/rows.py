"""This file reads a plane's rows in place: for a vector of lattice points, the pixels under a kernel's taps.

Each column of taps is a masked load, whose mask is computed once for all rows and channels. A row of taps is an
address, which is that of zeros above and below the image. Pixels that the next lattice row reads again stay in
registers. If lattice points are two pixels apart, every second element of two loads is taken.

Rows are read a block at a time, down one vector of columns after another, and the block after it is prefetched
meanwhile: no processor foresees that order. Without prefetches 64 planes of 112 x 112 pixels take five times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from llvmlite import ir

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.depthwise.arguments import PlaneArguments
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import (
    Simd,
    bits_between,
    element,
    load_integer,
    mask_of_bits,
    masked_load,
    prefetch_line,
    shuffled,
    store,
    store_integer,
    vector_at,
    vector_of,
    zeros,
)
from fastconv.geometry import Pair

if TYPE_CHECKING:
    from fastconv.backends.numba_cpu.simd.numba_types import SimdType

_I64 = ir.IntType(64)

MOST_TAPS = 25
"""Largest number of taps: their weights, or sums, about fit in 32 registers."""

WIDEST = 1 << 14
"""Largest number of lattice points in a row. It limits the workspace, which has a row of zeros, and three integers for
each vector and column of taps."""

COLUMN_WORDS = 3
"""Count of integers that describe a column of taps for a vector of points: the source column of its first lane, and the
masks of the vector from there and of the next one."""


def workspace_bytes(simd: Simd, wide: int, points: int, rows: int, columns: int) -> int:
    """Return the bytes of a thread's workspace: a row of zeros, a channel's weights or sums, the table of columns."""
    numbers = wide + 2 * simd.lanes + rows * columns * simd.lanes
    return -(-numbers * simd.itemsize // 64) * 64 + 64 + 8 * COLUMN_WORDS * columns * -(-points // simd.lanes)


_BLOCK_BYTES = 128 << 10
"""Approximate size of the rows of a block, in bytes: it and the block that is prefetched stay in the L2 cache."""

_LEAST_ROWS = 16
"""Least number of rows of a block, each of which begins with the loads of the weights."""

_LEAST_AHEAD = 4 << 10
"""Least distance of prefetches, in bytes, for small planes."""


class Shape(NamedTuple):
    """This is the shape of a kernel; each shape is compiled on its own."""

    rows: int
    """Number of rows of taps."""
    columns: int
    step: int
    """Distance of neighbouring lattice points in the source, one or two columns."""
    kept: int
    """Number of rows of taps, from the first on, whose source rows the last ones read for the lattice row before."""
    target_step: int
    """Distance of neighbouring lattice points in the target, one or two columns."""


def shape_of(grid: tuple[tuple[int, ...], tuple[int, ...]], source_step: Pair, target_step: Pair) -> Shape:
    """Return the kernel's shape for taps in a ``grid`` of rows and columns."""
    rows, columns = grid
    beyond = [dy for dy in rows if dy + source_step[0] not in rows]
    # Rows ascend. The first rows can stay in registers if each, one step on, is the row ``ahead`` places later.
    ahead = len(beyond)
    again = all(rows[r] + source_step[0] == rows[r + ahead] for r in range(len(rows) - ahead))
    return Shape(len(rows), len(columns), source_step[1], len(rows) - ahead if again else 0, target_step[1])


class Taps:
    """This class emits the instructions that load the pixels under a kernel's taps."""

    def __init__(
        self,
        builder: Any,
        simd: SimdType,
        shape: Shape,
        source: Any,
        args: Any,
        offsets: Any,
        nowhere: Any,
        table: Any,
        ahead: Any,
    ) -> None:
        """Emit the loads of the taps' places and masks.

        ``source``, ``offsets``, ``nowhere`` and ``table`` are the addresses of a plane, of the taps' rows, of a row of
        zeros, and of the table of columns. Lines that are ``ahead`` lattice rows away are prefetched.
        """
        self.builder, self.simd = builder, simd
        self.rows, self.columns, self.step, self.kept, _ = shape
        lanes = simd.simd.lanes
        self.places, self.masks = [], []
        for column in range(self.columns):
            words = [self.integer(table, column * COLUMN_WORDS + word) for word in range(COLUMN_WORDS)]
            self.places.append(words[0])
            self.masks.append([mask_of_bits(builder, lanes, bits) for bits in words[1:]])
        self.above = [self.integer(offsets, row) for row in range(self.rows)]
        self.high, self.wide, self.down = (self.argument(args, name) for name in ("H", "W", "DI"))
        self.source, self.nowhere, self.ahead = source, nowhere, ahead

    def argument(self, args: Any, name: str) -> Any:
        """Return the value of a job's argument."""
        return self.integer(args, PlaneArguments.words[name])

    def integer(self, base: Any, index: int) -> Any:
        builder = self.builder
        return builder.load(builder.gep(builder.inttoptr(base, _I64.as_pointer()), [ir.Constant(_I64, index)]))

    def row(self, i: Any, r: int) -> Any:
        """Return the address of the source row that row r of the taps reads for lattice row i, or that of zeros."""
        builder = self.builder
        y = builder.add(builder.mul(i, self.down), self.above[r])
        bytes_before = builder.mul(builder.mul(y, self.wide), ir.Constant(_I64, self.simd.simd.itemsize))
        inside = builder.icmp_unsigned("<", y, self.high)
        return builder.select(inside, builder.add(self.source, bytes_before), self.nowhere)

    def rows_from(self, i: Any, first: int, end: int) -> list[list[Any]]:
        """Return the pixels under rows ``first`` up to ``end`` of the taps for lattice row i."""
        rows = [self.row(i, r) for r in range(first, end)]
        return [[self._pixels(row, column) for column in range(self.columns)] for row in rows]

    def prefetch(self, i: Any) -> None:
        """Prefetch from the source rows that lattice row i reads first."""
        builder = self.builder
        for r in range(self.kept, self.rows):
            y = builder.add(builder.mul(builder.add(i, self.ahead), self.down), self.above[r])
            place = builder.add(builder.mul(y, self.wide), self.places[0])
            for part in range(self.step):
                there = builder.add(place, ir.Constant(_I64, part * self.simd.simd.lanes))
                prefetch_line(builder, element(builder, self.simd, self.source, there), to_write=False)

    def _pixels(self, row: Any, column: int) -> Any:
        builder, simd = self.builder, self.simd
        nothing = ir.Constant(vector_of(simd).llvm, None)
        loads = []
        for half in range(self.step):
            index = builder.add(self.places[column], ir.Constant(_I64, half * simd.simd.lanes))
            pointer = vector_at(builder, simd, row, index)
            loads.append(masked_load(builder, pointer, self.masks[column][half], nothing, simd.simd.itemsize))
        if self.step == 1:
            return loads[0]
        return shuffled(builder, loads[0], loads[1], list(range(0, 2 * simd.simd.lanes, 2)))


def for_each_row(
    taps: Taps, first: Any, end: Any, states: list[Any], body: Callable[[Any, list[list[Any]], list[Any]], list[Any]]
) -> list[Any]:
    """Emit a loop over lattice rows, at least one; return the last state.

    ``body`` takes the row, the pixels under the taps and the state before, and returns the state after.
    """
    builder = taps.builder
    kept = taps.rows_from(first, 0, taps.kept)
    before = builder.block
    loop, after = (builder.append_basic_block(name) for name in ("row", "after"))
    builder.branch(loop)
    builder.position_at_end(loop)
    i = builder.phi(_I64)
    i.add_incoming(first, before)

    def carried(values: list[Any]) -> list[Any]:
        phis = [builder.phi(value.type) for value in values]
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, before)
        return phis

    rows_before = [carried(row) for row in kept]
    states_before = carried(states)
    taps.prefetch(i)
    rows = rows_before + taps.rows_from(i, taps.kept, taps.rows)
    results = body(i, rows, states_before)
    following = builder.add(i, ir.Constant(_I64, 1))
    i.add_incoming(following, builder.block)
    phis = [phi for row in rows_before for phi in row] + states_before
    values = [value for row in rows[taps.rows - taps.kept :] for value in row] + results
    for phi, value in zip(phis, values, strict=True):
        phi.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, end), loop, after)
    builder.position_at_end(after)
    return results


def literals(*shape: Any) -> Shape:
    """Return the shape from five integers that are literals in an intrinsic."""
    return Shape(*[value.literal_value for value in shape])


@inner
def rows_at_once(simd, args):
    """Return the lattice rows of a block, whose source and target stay in the L2 cache, and the rows to prefetch ahead.

    Behind a plane's last row is the next plane, so a prefetch may be any number of rows ahead.
    """
    row_bytes = simd.itemsize * (args.DI * args.W + args.YI * args.target_w)
    most = max(_LEAST_ROWS, _BLOCK_BYTES // row_bytes)
    blocks = (args.I + most - 1) // most
    rows = (args.I + blocks - 1) // blocks
    return rows, max(rows, _LEAST_AHEAD // row_bytes)


@inner
def describe_columns(simd, args, nowhere, table):
    """Fill ``table`` with the columns of taps of each vector in a lattice row, and ``nowhere`` with a row of zeros."""
    W, J, right = args.W, args.J, args.DJ
    columns, offsets = args.tap_columns, args.tap_offsets
    offsets += 8 * args.tap_rows
    for i in range(0, W + 2 * simd.lanes, simd.lanes):
        store(simd, nowhere, i, zeros(simd))
    for j in range(0, J, simd.lanes):
        for s in range(columns):
            x = j * right + load_integer(offsets, s)
            # Lanes to load, before every second is taken: inside the image, and of points inside the lattice.
            begin, end = -x, min(W - x, (J - j - 1) * right + 1)
            base = table + 8 * COLUMN_WORDS * (j // simd.lanes * columns + s)
            store_integer(base, 0, x)
            store_integer(base, 1, bits_between(simd, begin, end))
            store_integer(base, 2, bits_between(simd, begin - simd.lanes, end - simd.lanes))


def tap_offsets(args: np.ndarray, p: Problem) -> np.ndarray:
    """Put the taps' rows and columns into the arguments; return the table that the arguments refer to."""
    rows, columns = p.grid
    offsets = np.array([*rows, *columns], np.int64)
    args["tap_rows"], args["tap_columns"], args["tap_offsets"] = len(rows), len(columns), offsets.ctypes.data
    return offsets
