"""Convolution from a single channel, at the speed of memory: a row's pixels in the lanes, read where they lie.

    target[m, i, j]  =  bias[m] + sum over r, s of weight[m, r, s] * source[i * DI + dy[r], j * DJ + dx[s]]

Depthwise convolutions have one source channel in each group, so there is nothing to multiply as matrices: 9
multiply-adds for each pixel that is read and written. All else must cost less than that, so nothing is copied. For a
vector of a row's pixels the taps' columns are as many loads, each under a mask that is worked out once for all rows and
channels; a tap's row is an address, that of zeros above and below the image; the weights stay in registers for a whole
plane, and what the next row of the lattice reads again stays there for it. With two pixels from one lattice point to
the next, every second element of two loads is taken; with two pixels of the target, vectors are spread over two.

The adjoint for the weight keeps a vector of partial sums for each tap in registers, and adds up their lanes when all
images have been through:

    grad_weight[m, r, s]  =  sum over n, i, j of grad[n, m, i, j] * source[n, i * DI + dy[r], j * DJ + dx[s]]

On Zen 4, a 3 x 3 kernel takes 29 cycles a vector, its adjoint 31: a load across two cache lines costs two cycles, a
multiply-add one. By direct.py, which copies the planes first, it is 97 and 45.

A task is a number of planes, or of a plane's rows where there are few; for the adjoint, of the groups.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import types
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.jit import address_of, inner
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.direct_weight import add_lanes
from fastconv.backends.numba_cpu.panels import is_finite
from fastconv.backends.numba_cpu.simd import (
    Simd,
    SimdType,
    bits_between,
    broadcast_value,
    call,
    element,
    load_integer,
    load_scalar,
    load_vector,
    mask_of_bits,
    masked_load,
    masked_store,
    multiply_add,
    raise_to,
    shuffled,
    store,
    store_integer,
    store_scalar,
    store_vector,
    vector_at,
    vector_of,
    zeros,
)
from fastconv.geometry import Pair

_I64 = ir.IntType(64)

MOST_TAPS = 25
"""Whose weights, or sums, about fit in 32 registers."""

WIDEST = 1 << 14
"""Pixels in a row, for the workspace has a row of zeros and three integers for each vector and column of taps."""

COLUMN_WORDS = 3
"""Integers that describe a column of taps for a vector of pixels: where its first lane is in a row of the source, and
masks of one vector from there and of the next."""


def workspace_bytes(simd: Simd, wide: int, points: int, rows: int, columns: int) -> int:
    """What a slot needs: a row of zeros, the weights or the sums of a channel, and what describes the columns."""
    numbers = wide + 2 * simd.lanes + rows * columns * simd.lanes
    return -(-numbers * simd.itemsize // 64) * 64 + 64 + 8 * COLUMN_WORDS * columns * -(-points // simd.lanes)


class Shape(NamedTuple):
    """What a kernel is compiled for."""

    rows: int
    """Of taps."""
    columns: int
    step: int
    """Columns of the source, one or two, from a lattice point to the next."""
    kept: int
    """Rows of taps, the first so many, that read what the last ones read for the lattice row before."""
    target_step: int
    """Columns of the target, one or two, from a lattice point to the next."""


def shape_of(grid: tuple[tuple[int, ...], tuple[int, ...]], source_step: Pair, target_step: Pair) -> Shape:
    """The kernel's shape for taps in a ``grid`` of rows and columns."""
    rows, columns = grid
    beyond = [dy for dy in rows if dy + source_step[0] not in rows]
    # Rows ascend, so those that are read again are the first if, one by one, they are what comes ``ahead`` rows later.
    ahead = len(beyond)
    again = all(rows[r] + source_step[0] == rows[r + ahead] for r in range(len(rows) - ahead))
    return Shape(len(rows), len(columns), source_step[1], len(rows) - ahead if again else 0, target_step[1])


class _Taps:
    """The instructions that load the pixels under a kernel's taps."""

    def __init__(
        self,
        builder: Any,
        simd: SimdType,
        shape: Shape,
        source: Any,
        frame: Any,
        offsets: Any,
        nowhere: Any,
        table: Any,
    ) -> None:
        """What a kernel knows of its taps.

        ``source``, ``offsets``, ``nowhere`` and ``table`` are the addresses of a plane, of the taps' rows, of a row of
        zeros, and of what describes the columns.
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
        self.high, self.wide, self.down = (self.integer(frame, field) for field in (F.H, F.W, F.DI))
        self.source, self.nowhere = source, nowhere

    def integer(self, base: Any, index: int) -> Any:
        builder = self.builder
        return builder.load(builder.gep(builder.inttoptr(base, _I64.as_pointer()), [ir.Constant(_I64, index)]))

    def row(self, i: Any, r: int) -> Any:
        """The address of the row of the source that row r of the taps reads for lattice row i, or of zeros."""
        builder = self.builder
        y = builder.add(builder.mul(i, self.down), self.above[r])
        bytes_before = builder.mul(builder.mul(y, self.wide), ir.Constant(_I64, self.simd.simd.itemsize))
        inside = builder.icmp_unsigned("<", y, self.high)
        return builder.select(inside, builder.add(self.source, bytes_before), self.nowhere)

    def rows_from(self, i: Any, first: int, end: int) -> list[list[Any]]:
        """The pixels under rows ``first`` up to ``end`` of the taps for lattice row i."""
        rows = [self.row(i, r) for r in range(first, end)]
        return [[self._pixels(row, column) for column in range(self.columns)] for row in rows]

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


def _for_each_row(
    taps: _Taps, first: Any, end: Any, states: list[Any], body: Callable[[Any, list[list[Any]], list[Any]], list[Any]]
) -> list[Any]:
    """A loop over lattice rows, at least one.

    ``body`` takes the row, the pixels under the taps and the state before it, and gives the state after.
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


def _literals(*shape: Any) -> Shape:
    return Shape(*[value.literal_value for value in shape])


@intrinsic(prefer_literal=True)
def _convolve_rows(
    typing,
    simd,
    rows,
    columns,
    step,
    kept,
    target_step,
    source,
    frame,
    offsets,
    nowhere,
    table,
    weights,
    bias,
    target,
    bits,
    first,
    end,
):
    """See `convolve_kernel`."""
    shape = _literals(rows, columns, step, kept, target_step)

    def generate(context, builder, signature, arguments):
        source, frame, offsets, nowhere, table, weights, bias, target, bits, first, end = arguments[6:]
        taps = _Taps(builder, simd, shape, source, frame, offsets, nowhere, table)
        lanes = simd.simd.lanes

        def spread(base: Any, index: int) -> Any:
            return broadcast_value(builder, builder.load(element(builder, simd, base, ir.Constant(_I64, index))), lanes)

        kernel = [[spread(weights, taps.columns * r + s) for s in range(taps.columns)] for r in range(taps.rows)]
        start, mask = spread(bias, 0), mask_of_bits(builder, lanes, bits)
        lowest = spread(taps.integer(frame, F.LIMITS), 1)
        across = builder.mul(taps.integer(frame, F.YI), taps.integer(frame, F.TARGET_W))

        def body(i: Any, pixels: list[list[Any]], _: list[Any]) -> list[Any]:
            total = start
            for r in range(taps.rows):
                for s in range(taps.columns):
                    total = multiply_add(builder, kernel[r][s], pixels[r][s], total)
            place = builder.mul(i, across)
            for value, inside in _apart(builder, raise_to(builder, total, lowest), mask, shape.target_step):
                masked_store(builder, value, vector_at(builder, simd, target, place), inside, simd.simd.itemsize)
                place = builder.add(place, ir.Constant(_I64, lanes))
            return []

        _for_each_row(taps, first, end, [], body)
        return context.get_dummy_value()

    return types.void(simd, rows, columns, step, kept, target_step, *[intp] * 11), generate


def _apart(builder: Any, value: Any, mask: Any, step: int) -> list[tuple[Any, Any]]:
    """``step`` vectors that have a vector's lanes that far apart, and masks of the lanes under ``mask``."""
    if step == 1:
        return [(value, mask)]
    lanes = value.type.count
    found = []
    for part in range(step):
        # Lanes in between are of a mask that is empty.
        order = [part * lanes // step + lane // step for lane in range(lanes)]
        chosen = [where if lane % step == 0 else lanes for lane, where in enumerate(order)]
        empty = ir.Constant(mask.type, None)
        found.append((shuffled(builder, value, value, order), shuffled(builder, mask, empty, chosen)))
    return found


@cache
def convolve_kernel(simd: Simd, shape: Shape) -> int:
    """The address of the kernel for a shape, compiled at the first call.

    It computes a vector's columns of a plane's rows ``first`` up to ``end``, at least one, and takes eleven integers:
    the addresses of a plane of the source, of the frame, of the taps' rows, of a row of zeros, of what describes the
    columns, of the weights and the bias, and of the first column in row 0 of the target; the lattice's columns to be
    written, as a mask; ``first`` and ``end``.
    """
    rows, columns, step, kept, target_step = shape

    def convolve_rows(source, frame, offsets, nowhere, table, weights, bias, target, bits, first, end):
        _convolve_rows(
            simd,
            rows,
            columns,
            step,
            kept,
            target_step,
            source,
            frame,
            offsets,
            nowhere,
            table,
            weights,
            bias,
            target,
            bits,
            first,
            end,
        )

    return address_of(convolve_rows, 11)


@intrinsic(prefer_literal=True)
def _correlate_rows(
    typing,
    simd,
    rows,
    columns,
    step,
    kept,
    target_step,
    source,
    frame,
    offsets,
    nowhere,
    table,
    gradient,
    bits,
    sums,
    first,
    end,
):
    """See `correlate_kernel`."""
    shape = _literals(rows, columns, step, kept, target_step)

    def generate(context, builder, signature, arguments):
        source, frame, offsets, nowhere, table, gradient, bits, sums, first, end = arguments[6:]
        taps = _Taps(builder, simd, shape, source, frame, offsets, nowhere, table)
        nothing = ir.Constant(vector_of(simd).llvm, None)
        mask = mask_of_bits(builder, simd.simd.lanes, bits)
        across = taps.integer(frame, F.TARGET_W)

        def body(i: Any, pixels: list[list[Any]], before: list[Any]) -> list[Any]:
            pointer = vector_at(builder, simd, gradient, builder.mul(i, across))
            change = masked_load(builder, pointer, mask, nothing, simd.simd.itemsize)
            under_taps = [value for row in pixels for value in row]
            return [
                multiply_add(builder, change, value, total) for value, total in zip(under_taps, before, strict=True)
            ]

        totals = _for_each_row(taps, first, end, [nothing] * (taps.rows * taps.columns), body)
        # Each plane's sums begin at zero: two short chains of additions are more exact than a long one.
        for t, total in enumerate(totals):
            place = ir.Constant(_I64, t * simd.simd.lanes)
            store_vector(builder, simd, builder.fadd(load_vector(builder, simd, sums, place), total), sums, place)
        return context.get_dummy_value()

    return types.void(simd, rows, columns, step, kept, target_step, *[intp] * 10), generate


@cache
def correlate_kernel(simd: Simd, shape: Shape) -> int:
    """The address of the kernel of the adjoint for the weight, compiled at the first call.

    It adds a vector's columns of a plane's rows to rows x columns vectors of sums. Of the integers that it takes, the
    first five and the last two are those of `convolve_kernel`; between them are the address of the first column in row
    0 of the gradient, the columns there are, as a mask, and the address of the sums.
    """
    rows, columns, step, kept, target_step = shape

    def correlate_rows(source, frame, offsets, nowhere, table, gradient, bits, sums, first, end):
        _correlate_rows(
            simd,
            rows,
            columns,
            step,
            kept,
            target_step,
            source,
            frame,
            offsets,
            nowhere,
            table,
            gradient,
            bits,
            sums,
            first,
            end,
        )

    return address_of(correlate_rows, 10)


@intrinsic
def _add_vectors(typing, simd, source, count, target):
    """Write the sums of the lanes of ``count`` vectors, at most as many as lanes, side by side: a whole vector."""

    def generate(context, builder, signature, arguments):
        _, source, count, target = arguments
        lanes = simd.simd.lanes
        nothing = ir.Constant(vector_of(simd).llvm, None)
        vectors = []
        for i in range(lanes):
            place = ir.Constant(_I64, i)
            there = builder.icmp_signed("<", place, count)
            index = builder.select(there, builder.mul(place, ir.Constant(_I64, lanes)), ir.Constant(_I64, 0))
            vectors.append(builder.select(there, load_vector(builder, simd, source, index), nothing))
        store_vector(builder, simd, add_lanes(builder, vectors), target, ir.Constant(_I64, 0))
        return context.get_dummy_value()

    return types.void(simd, intp, intp, intp), generate


@inner
def _describe_columns(simd, frame, nowhere, table):
    """For each vector of a row of the lattice, where its columns of taps are; and a row of zeros."""
    W, J, right = load_integer(frame, F.W), load_integer(frame, F.J), load_integer(frame, F.DJ)
    columns, offsets = load_integer(frame, F.TAP_COLUMNS), load_integer(frame, F.OFFSETS)
    offsets += 8 * load_integer(frame, F.TAP_ROWS)
    for i in range(0, W + 2 * simd.lanes, simd.lanes):
        store(simd, nowhere, i, zeros(simd))
    for j in range(0, J, simd.lanes):
        for s in range(columns):
            x = j * right + load_integer(offsets, s)
            # Lanes that have a pixel, before every second is taken: inside the image, and of points inside the lattice.
            begin, end = -x, min(W - x, (J - j - 1) * right + 1)
            base = table + 8 * COLUMN_WORDS * (j // simd.lanes * columns + s)
            store_integer(base, 0, x)
            store_integer(base, 1, bits_between(simd, begin, end))
            store_integer(base, 2, bits_between(simd, begin - simd.lanes, end - simd.lanes))


@inner
def _convolve(simd, frame, task, slot):
    """Some planes of the source, or some rows of one."""
    part, block = divmod(task, load_integer(frame, F.BLOCKS))
    groups, rows = load_integer(frame, F.GROUPS), load_integer(frame, F.ROWS)
    first = part * load_integer(frame, F.BLOCK_TILES)
    end = min(load_integer(frame, F.N) * groups, first + load_integer(frame, F.BLOCK_TILES))
    J, taps, columns = load_integer(frame, F.J), load_integer(frame, F.TAP_COUNT), load_integer(frame, F.TAP_COLUMNS)
    first_row = block * load_integer(frame, F.BLOCK_ROWS)
    end_row = min(load_integer(frame, F.I), first_row + load_integer(frame, F.BLOCK_ROWS))
    plane = load_integer(frame, F.H) * load_integer(frame, F.W)
    target_plane = load_integer(frame, F.TARGET_H) * load_integer(frame, F.TARGET_W)
    corner = load_integer(frame, F.Y0) * load_integer(frame, F.TARGET_W) + load_integer(frame, F.X0)
    places, offsets = load_integer(frame, F.TAPS), load_integer(frame, F.OFFSETS)
    kernel, size = load_integer(frame, F.KERNEL), simd.itemsize
    apart = size * load_integer(frame, F.XJ)

    nowhere = load_integer(frame, F.WORKSPACE) + slot * load_integer(frame, F.SLOT_BYTES)
    weights = nowhere + size * (load_integer(frame, F.W) + 2 * simd.lanes)
    table = (weights + size * taps * simd.lanes + 63) // 64 * 64
    _describe_columns(simd, frame, nowhere, table)
    for each in range(first, end):
        group = each % groups
        source = load_integer(frame, F.SOURCE) + size * each * plane
        for m in range(rows):
            weight = load_integer(frame, F.WEIGHT)
            weight += size * (group * load_integer(frame, F.WEIGHT_GROUP) + m * load_integer(frame, F.WEIGHT_ROW))
            for t in range(taps):
                store_scalar(simd, weights, t, load_scalar(simd, weight, load_integer(places, 3 * t + 2)))
            if not is_finite(simd, weights, taps):
                store_integer(frame, F.INFINITE, 1)
            bias = load_integer(frame, F.BIAS)
            if bias != 0:
                bias += size * (group * rows + m)
            else:
                bias = nowhere
            target = load_integer(frame, F.TARGET) + size * ((each * rows + m) * target_plane + corner)
            for j in range(0, J, simd.lanes):
                here = table + 8 * COLUMN_WORDS * (j // simd.lanes * columns)
                bits = bits_between(simd, 0, J - j)
                call(
                    kernel,
                    (
                        source,
                        frame,
                        offsets,
                        nowhere,
                        here,
                        weights,
                        bias,
                        target + apart * j,
                        bits,
                        first_row,
                        end_row,
                    ),
                )


@inner
def _correlate(simd, frame, task, slot):
    """One part of the batch for some target channels."""
    part, split = divmod(task, load_integer(frame, F.SPLITS))
    groups, rows = load_integer(frame, F.GROUPS), load_integer(frame, F.ROWS)
    first = part * load_integer(frame, F.BLOCK_TILES)
    end = min(groups * rows, first + load_integer(frame, F.BLOCK_TILES))
    I, J = load_integer(frame, F.I), load_integer(frame, F.J)
    taps, columns = load_integer(frame, F.TAP_COUNT), load_integer(frame, F.TAP_COLUMNS)
    blocks, block_rows = load_integer(frame, F.BLOCKS), load_integer(frame, F.BLOCK_ROWS)
    first_unit = split * load_integer(frame, F.SPLIT_STEPS)
    end_unit = min(load_integer(frame, F.N) * blocks, first_unit + load_integer(frame, F.SPLIT_STEPS))
    plane = load_integer(frame, F.H) * load_integer(frame, F.W)
    offsets, kernel, size = load_integer(frame, F.OFFSETS), load_integer(frame, F.KERNEL), simd.itemsize
    target = load_integer(frame, F.TARGET)
    if load_integer(frame, F.SPLITS) > 1:
        target = load_integer(frame, F.PARTIAL) + size * split * groups * rows * taps

    nowhere = load_integer(frame, F.WORKSPACE) + slot * load_integer(frame, F.SLOT_BYTES)
    sums = nowhere + size * (load_integer(frame, F.W) + 2 * simd.lanes)
    table = (sums + size * taps * simd.lanes + 63) // 64 * 64
    _describe_columns(simd, frame, nowhere, table)
    for m in range(first, end):
        for t in range(taps):
            store(simd, sums, t * simd.lanes, zeros(simd))
        for unit in range(first_unit, end_unit):
            n, block = divmod(unit, blocks)
            source = load_integer(frame, F.SOURCE) + size * (n * groups + m // rows) * plane
            gradient = load_integer(frame, F.WEIGHT) + size * (n * groups * rows + m) * I * J
            first_row = block * block_rows
            end_row = min(I, first_row + block_rows)
            for j in range(0, J, simd.lanes):
                here = table + 8 * COLUMN_WORDS * (j // simd.lanes * columns)
                bits = bits_between(simd, 0, J - j)
                call(
                    kernel,
                    (source, frame, offsets, nowhere, here, gradient + size * j, bits, sums, first_row, end_row),
                )
        for t in range(0, taps, simd.lanes):
            # A vector's sums go where the first of the vectors was.
            there = min(simd.lanes, taps - t)
            here = sums + size * t * simd.lanes
            _add_vectors(simd, here, there, here)
            for i in range(there):
                store_scalar(simd, target, m * taps + t + i, load_scalar(simd, here, i))


@cache
def convolve_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that convolves some planes."""

    def convolve_planes(frame, task, slot):
        _convolve(simd, frame, task, slot)

    return address_of(convolve_planes, 3)


@cache
def correlate_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that computes some channels' gradients of the weight."""

    def correlate_planes(frame, task, slot):
        _correlate(simd, frame, task, slot)

    return address_of(correlate_planes, 3)
