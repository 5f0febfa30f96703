"""The kernel computes a row of results of a vector of planes, and each tap that it adds is a vector of multiply-adds.

    result[j]  =  bias + sum over r, s of kernel[r, s] * pixel[y + dy[r], j * step + first + s * apart]

Everything is a vector, of one number for each plane. The sums stay in registers; the products of a row of taps stand
one behind another in the compiled code, which therefore has none with padding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir

from fastconv.backends.compiler import Kernel, cgutils, compiled, integers, intrinsic, types
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import (
    Simd,
    broadcast_value,
    clamped,
    element,
    load_vector,
    multiply_add,
    store_vector,
    vector_of,
)

_I64 = ir.IntType(64)


class Row(NamedTuple):
    """This is the shape of a kernel, which computes a row of results; each shape is compiled on its own."""

    points: int
    """Number of results in a row."""
    step: int
    """Distance of neighbouring lattice points in the source, in columns."""
    width: int
    """Number of pixels in a row of the source."""
    first: int
    """Column of the first tap, for the first result."""
    apart: int
    """Distance of neighbouring taps, in columns."""
    taps: int
    """Number of columns of taps."""

    @property
    def products(self) -> list[tuple[int, int, int]]:
        """The column of taps, the result, and the pixel's column of each product of a row that meets no padding."""
        pairs = [(s, j) for s in range(self.taps) for j in range(self.points)]
        places = [(s, j, j * self.step + self.first + s * self.apart) for s, j in pairs]
        return [place for place in places if 0 <= place[2] < self.width]


def row_of(p: Problem) -> Row | None:
    """Return the shape of the kernel for a problem's rows, or None if columns of taps aren't equally far apart."""
    columns = p.grid[1]
    apart = columns[1] - columns[0] if len(columns) > 1 else 1
    if columns != tuple(range(columns[0], columns[-1] + 1, apart)):
        return None
    return Row(p.lattice[1], p.source_step[1], p.size[1], columns[0], apart, len(columns))


@intrinsic(prefer_literal=True)
def _convolve_row(typing, simd, points, step, width, first, apart, taps, values):
    """Emit the body of `row_kernel`."""
    row = Row(*[each.literal_value for each in (points, step, width, first, apart, taps)])

    def generate(context, builder, signature, arguments):
        source, weights, y, dy, rows, bias, limits, target = cgutils.unpack_tuple(builder, arguments[7], 8)
        kind, lanes, nothing = vector_of(simd).llvm, simd.simd.lanes, ir.Constant(_I64, 0)

        def load_at(base: Any, number: Any, beyond: int = 0) -> Any:
            """Load vector ``number`` + ``beyond`` of the array at ``base``."""
            number = builder.add(number, ir.Constant(_I64, beyond))
            return load_vector(builder, simd, base, builder.mul(number, ir.Constant(_I64, lanes)))

        def limit(number: int) -> Any:
            value = builder.load(element(builder, simd, limits, ir.Constant(_I64, number)))
            return broadcast_value(builder, value, lanes)

        start, lowest, highest = load_at(bias, nothing), limit(0), limit(1)
        before = builder.block
        loop, after = (builder.append_basic_block(name) for name in ("row_of_taps", "rows_done"))
        builder.cbranch(builder.icmp_signed(">", rows, nothing), loop, after)

        builder.position_at_end(loop)
        r, sums = builder.phi(_I64), [builder.phi(kind) for _ in range(row.points)]
        away = builder.load(builder.gep(builder.inttoptr(dy, _I64.as_pointer()), [r]))
        pixels = builder.mul(builder.add(y, away), ir.Constant(_I64, row.width))
        kernel = builder.mul(r, ir.Constant(_I64, row.taps))
        found = list(sums)
        for s, j, column in row.products:
            found[j] = multiply_add(builder, load_at(weights, kernel, s), load_at(source, pixels, column), found[j])
        following = builder.add(r, ir.Constant(_I64, 1))
        builder.cbranch(builder.icmp_signed("<", following, rows), loop, after)
        r.add_incoming(nothing, before)
        r.add_incoming(following, loop)

        builder.position_at_end(after)
        totals = [builder.phi(kind) for _ in range(row.points)]
        for j, total in enumerate(totals):
            for phi in (sums[j], total):
                phi.add_incoming(start, before)
                phi.add_incoming(found[j], loop)
        for j, total in enumerate(totals):
            value = clamped(builder, total, lowest, highest)
            store_vector(builder, simd, value, target, ir.Constant(_I64, j * lanes))
        return context.get_dummy_value()

    return types.void(simd, *[points, step, width, first, apart, taps], types.UniTuple(types.intp, 8)), generate


@compiled
def row_kernel(simd: Simd, row: Row) -> Kernel:
    """Return the address of the kernel for a shape, which is compiled at the first call.

    It computes a row of results in a vector of planes, and takes eight integers: the addresses of the transposed planes
    and of the kernels' first row of taps to be used; the source row of the lattice row, and the address of the
    distances from there of the rows under the taps; the number of rows of taps; and the addresses of the bias, of two
    limits, and of the results.
    """
    points, step, width, first, apart, taps = row

    def convolve_row(source, weights, y, dy, rows, bias, limits, target):
        values = source, weights, y, dy, rows, bias, limits, target
        _convolve_row(simd, points, step, width, first, apart, taps, values)

    return integers(convolve_row)
