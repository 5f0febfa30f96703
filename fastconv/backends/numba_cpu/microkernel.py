"""The micro-kernel: a tile of the product in registers, one rank-1 update for each step of the reduction.

    c[i, j]  =  start[i, j] + sum over k of a[k, i] * b[k, j],      0 <= i < MR,  0 <= j < NR = vectors * lanes

a and b are packed panels: a is (depth, MR), b is (depth, NR), each step's elements side by side. c is the corner of a
row-major matrix whose rows are ``step`` elements apart. In step k the kernel loads ``vectors`` registers of b, broadcasts
each a[k, i] from memory and does MR * vectors fused multiply-adds into as many accumulators, which LLVM keeps in
registers because they are phi nodes of a loop that touches no other memory.

Tile arithmetic. A multiply-add takes 4 cycles and two start in each (Zen 4 starts one of 512 bits), so 8 accumulators
are the least that can keep the units busy, and MR * vectors + vectors + 1 registers the most there are. Each
step loads vectors + MR numbers for MR * vectors multiply-adds: at 14 x 2 or 8 x 3 well below the two loads a cycle.
On a Zen 4 core with a peak of 115 GFLOP/s (float32), panels in cache: 14 x 2 vectors 113, 12 x 2 116, 8 x 3 115, 6 x 4
116, 8 x 2 116; with 256-bit vectors 6 x 2 114, 4 x 3 114. So MR may be what divides the channels best: `tile_vectors`.
Written with scalar loops and left to LLVM's vectoriser, the same product runs at a tenth of that.

After F. Van Zee and R. van de Geijn, "BLIS: a framework for rapidly instantiating BLAS functionality" (2015).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.jit import address_of
from fastconv.backends.numba_cpu.instruction_set import InstructionSet
from fastconv.backends.numba_cpu.simd import (
    Simd,
    SimdType,
    broadcast_value,
    element,
    multiply_add,
    raise_to,
    vector_at,
    vector_of,
)

_I64 = ir.IntType(64)

ACCUMULATE = 1
"""For ``start``: add to what c holds, instead of starting from the bias."""


def most_rows(instructions: InstructionSet) -> int:
    """The largest MR worth having: with two vectors a row, as many accumulators as registers can hold."""
    return (instructions.registers - 3) // 2


def tile_vectors(rows: int, instructions: InstructionSet) -> int:
    """How many vectors wide a tile of ``rows`` rows should be: as many as registers allow, at most 4.

    A row of the tile takes its accumulators, a step takes ``vectors`` more and one for the broadcast.
    """
    return max(1, min(4, (instructions.registers - 1) // (rows + 1)))


@cache
def address(simd: Simd, rows: int, vectors: int) -> int:
    """Where the micro-kernel of a tile of rows x vectors is, compiled at the first call; see `multiply_tile`."""

    def microkernel(depth, a, b, c, step, bias, start, floor):
        multiply_tile(simd, rows, vectors, depth, a, b, c, step, bias, start, floor)

    return address_of(microkernel, 8)


@intrinsic(prefer_literal=True)
def multiply_tile(typing, simd, rows, vectors, depth, a, b, c, step, bias, start, floor):
    """One tile; all but the first three are integers.

    depth: steps of the reduction, at least 1. a, b, c: addresses. step: elements between rows of c. start: 0 to begin
    at the bias, `ACCUMULATE` to add to c. bias: the address of MR numbers, or 0 for none. floor: the address of the
    number below which no result may fall: 0 for ReLU, minus infinity for none; NaN stays.
    """
    rows_literal, vectors_literal = rows.literal_value, vectors.literal_value

    def generate(context, builder, signature, arguments):
        _emit(builder, simd, rows_literal, vectors_literal, *arguments[3:])
        return context.get_dummy_value()

    return types.void(simd, rows, vectors, *[intp] * 8), generate


def _emit(
    builder: Any,
    simd: SimdType,
    rows: int,
    vectors: int,
    depth: Any,
    a: Any,
    b: Any,
    c: Any,
    step: Any,
    bias: Any,
    start: Any,
    floor: Any,
) -> None:
    lanes, itemsize = simd.simd.lanes, simd.simd.itemsize
    kind = vector_of(simd).llvm
    tile = [(i, j) for i in range(rows) for j in range(vectors)]

    def number(value: int) -> Any:
        return ir.Constant(_I64, value)

    def load_vector(base: Any, index: Any) -> Any:
        value = builder.load(vector_at(builder, simd, base, index))
        value.align = itemsize
        return value

    def place(i: int, j: int) -> Any:
        return builder.add(builder.mul(step, number(i)), number(j * lanes))

    before = builder.block
    loop, after = (builder.append_basic_block(name) for name in ("step", "finish"))
    builder.branch(loop)

    builder.position_at_end(loop)
    k = builder.phi(_I64)
    k.add_incoming(number(0), before)
    sums = {}
    for position in tile:
        sums[position] = builder.phi(kind)
        sums[position].add_incoming(ir.Constant(kind, None), before)
    row_of_a, row_of_b = builder.mul(k, number(rows)), builder.mul(k, number(vectors * lanes))
    from_b = [load_vector(b, builder.add(row_of_b, number(j * lanes))) for j in range(vectors)]
    new = {}
    for i in range(rows):
        from_a = builder.load(element(builder, simd, a, builder.add(row_of_a, number(i))))
        spread = broadcast_value(builder, from_a, lanes)
        for j in range(vectors):
            new[i, j] = multiply_add(builder, spread, from_b[j], sums[i, j])
    following = builder.add(k, number(1))
    k.add_incoming(following, loop)
    for position in tile:
        sums[position].add_incoming(new[position], loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)

    builder.position_at_end(after)
    lowest = broadcast_value(builder, builder.load(element(builder, simd, floor, number(0))), lanes)

    def write(starts: Any) -> None:
        for i, j in tile:
            total = builder.fadd(starts(i, j), new[i, j])
            builder.store(raise_to(builder, total, lowest), vector_at(builder, simd, c, place(i, j))).align = itemsize

    with builder.if_else(builder.icmp_signed("==", start, number(ACCUMULATE))) as (accumulate, begin):
        with accumulate:
            write(lambda i, j: load_vector(c, place(i, j)))
        with begin:
            with builder.if_else(builder.icmp_signed("!=", bias, number(0))) as (biased, plain):
                with biased:
                    write(
                        lambda i, j: broadcast_value(
                            builder, builder.load(element(builder, simd, bias, number(i))), lanes
                        )
                    )
                with plain:
                    write(lambda i, j: ir.Constant(kind, None))
