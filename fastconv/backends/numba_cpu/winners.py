"""The adjoint for the weight through max pooling: only the pixels that won have a gradient, one in four.

    grad_weight[k, :]  =  sum over n, u of grad[n, k, u] * patch(n, winner(n, k, u))

u runs over the pooled pixels, winner(n, k, u) is the index that pooling kept, and patch() all the source pixels under
the kernel there, a few vectors long (strips.py). So the gradient of pooling, the largest array of a network's first
block and zero in three places of four, is never made: for SimpleConvNet, 25 taps on 30 channels, two multiply-adds of
vectors do what took 25 of a lane each, on a quarter of the pixels.

The strips of an image, or of a block of its rows, stay in the L1 or L2 cache while all channels pass, gradient and
indices being read once, in the order in which they lie; with channels inside and pixels outside, some thirty streams of
a few dozen bytes each were slower. The kernel does `PIXELS` pooled pixels at a time, each with sums of its own, which
are added at the end: no addition waits for the one before. For each pixel it reads an index, where that index has its
patch, a gradient and the patch, and is bound by these loads. A task is a part of the batch; each image's sums are added
to the part's, and the parts in order: the same bits for any number of threads.

A pixel that isn't finite would make NaN of the zeros that are left out here, so whoever meets one says so.

The idea to multiply by what is there only is that of sparse matrices: F. Gustavson, "Two fast algorithms for sparse
matrices: multiplication and permuted transposition", ACM TOMS 4(3), 1978.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.jit import address_of, inner
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.panels import is_finite
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import (
    Simd,
    broadcast_value,
    call,
    element,
    load_integer,
    load_scalar,
    load_vector,
    multiply_add,
    store,
    store_integer,
    store_scalar,
    store_vector,
    vector_of,
    zeros,
)
from fastconv.backends.numba_cpu.strips import fill_strip, fits, patch_numbers, strip_numbers
from fastconv.backends.numba_cpu.tiles import TASKS

_I64 = ir.IntType(64)

MOST_VECTORS = 4
"""Of a patch: a first layer's, 5 x 5 taps on one channel or 3 x 3 on three, has two with 512 bits and four with 256.
Longer ones are worked on by the dense algorithms."""

PIXELS = 4
"""That the kernel does at a time; with two vectors each, eight additions are on their way, which take four cycles."""

STRIPS_BYTES = 128 << 10
"""Of the strips of a block, an eighth of the L2 cache; those of a 28 x 28 image take 15 KiB."""


@dataclass(frozen=True)
class WinnersTiling:
    """The rows of pooled pixels whose strips are made together, and the parts of the batch."""

    block_rows: int
    tile_vectors: int
    splits: int
    split_steps: int

    @property
    def fields(self) -> dict[int, int]:
        """What a frame says of it."""
        return {
            F.BLOCK_ROWS: self.block_rows,
            F.TILE_VECTORS: self.tile_vectors,
            F.SPLITS: self.splits,
            F.SPLIT_STEPS: self.split_steps,
        }


def winners_tiling(simd: Simd, p: Problem) -> WinnersTiling | None:
    """How to go about a problem; None where its patches don't lie in strips, or are too long."""
    vectors = -(-patch_numbers(p) // simd.lanes)
    if not fits(p) or vectors > MOST_VECTORS:
        return None
    pair = 2 * strip_numbers(simd, p) * simd.itemsize
    block_rows = max(1, min(p.lattice[0] // 2, STRIPS_BYTES // pair))
    images = -(-p.images // TASKS)
    return WinnersTiling(block_rows, vectors, -(-p.images // images), images)


def offsets(simd: Simd, p: Problem, cut: WinnersTiling) -> np.ndarray:
    """For each pixel of a block of rows, as indices count them from the block's first: where its patch begins."""
    rows, columns = np.divmod(np.arange(2 * cut.block_rows * p.lattice[1]), p.lattice[1])
    step = p.source_step[1] * p.channels * len(p.grid[0])
    return rows * strip_numbers(simd, p) + columns * step


def workspace_bytes(simd: Simd, p: Problem, cut: WinnersTiling) -> int:
    """What a slot needs: a block's strips and what is read beyond them, the sums of a channel, and those of a part."""
    sums = (p.rows + 1) * cut.tile_vectors * simd.lanes
    return (2 * cut.block_rows * strip_numbers(simd, p) + cut.tile_vectors * simd.lanes + sums) * simd.itemsize + 64


@cache
def kernel(simd: Simd, vectors: int) -> int:
    """The address of the kernel for patches of so many vectors, compiled at the first call.

    It takes seven integers. count: pooled pixels, at least 1. gradient, indices: of the first one. before: the index
    of the block's first pixel. offsets, strips: the table, and what it refers to. sums: a patch of sums, added to.
    """

    def gather(count, gradient, indices, before, offsets, strips, sums):
        _gather(simd, vectors, count, gradient, indices, before, offsets, strips, sums)

    return address_of(gather, 7)


@intrinsic(prefer_literal=True)
def _gather(typing, simd, vectors, count, gradient, indices, before, offsets, strips, sums):
    """See `kernel`."""
    T = vectors.literal_value

    def generate(context, builder, signature, arguments):
        count, gradient, indices, before, offsets, strips, sums = arguments[2:]
        kind, lanes = vector_of(simd).llvm, simd.simd.lanes

        def number(value: int) -> Any:
            return ir.Constant(_I64, value)

        def integer(table: Any, index: Any) -> Any:
            return builder.load(builder.gep(builder.inttoptr(table, _I64.as_pointer()), [index]))

        def add_patch(u: Any, totals: list[Any]) -> list[Any]:
            """The sums with pooled pixel u's part."""
            patch = integer(offsets, builder.sub(integer(indices, u), before))
            change = broadcast_value(builder, builder.load(element(builder, simd, gradient, u)), lanes)
            pixels = [load_vector(builder, simd, strips, builder.add(patch, number(t * lanes))) for t in range(T)]
            return [multiply_add(builder, change, each, total) for each, total in zip(pixels, totals, strict=True)]

        def loop(first: Any, end: Any, step: int, totals: list[list[Any]]) -> tuple[Any, list[list[Any]]]:
            """Go from ``first`` on in whole steps of so many pixels; where it ended, and the sums then."""
            entry = builder.block
            test, body, after = (builder.append_basic_block(name) for name in ("test", "body", "after"))
            builder.branch(test)
            builder.position_at_end(test)
            u = builder.phi(_I64)
            u.add_incoming(first, entry)
            so_far = [[builder.phi(kind) for _ in each] for each in totals]
            builder.cbranch(builder.icmp_signed("<=", builder.add(u, number(step)), end), body, after)
            builder.position_at_end(body)
            new = [add_patch(builder.add(u, number(pixel)), so_far[pixel]) for pixel in range(step)]
            u.add_incoming(builder.add(u, number(step)), body)
            for phis, begins, results in zip(so_far, totals, new, strict=True):
                for phi, begin, result in zip(phis, begins, results, strict=True):
                    phi.add_incoming(begin, entry)
                    phi.add_incoming(result, body)
            builder.branch(test)
            builder.position_at_end(after)
            return u, so_far

        nothing = ir.Constant(kind, None)
        reached, totals = loop(number(0), count, PIXELS, [[nothing] * T for _ in range(PIXELS)])
        while len(totals) > 1:
            half = len(totals) // 2
            totals = [
                [builder.fadd(*pair) for pair in zip(totals[i], totals[i + half], strict=True)] for i in range(half)
            ]
        _, totals = loop(reached, count, 1, totals)
        for t in range(T):
            place = number(t * lanes)
            store_vector(
                builder, simd, builder.fadd(load_vector(builder, simd, sums, place), totals[0][t]), sums, place
            )
        return context.get_dummy_value()

    return types.void(simd, vectors, *[intp] * 7), generate


@inner
def _accumulate(simd, frame, part, slot):
    """One part of the batch."""
    size, lanes = simd.itemsize, simd.lanes
    depth, channels = load_integer(frame, F.DEPTH), load_integer(frame, F.ROWS)
    patch = load_integer(frame, F.TILE_VECTORS) * lanes
    I, J = load_integer(frame, F.I), load_integer(frame, F.J)
    pooled_rows, pooled_columns = I // 2, J // 2
    strip, block_rows = load_integer(frame, F.CHANNEL), load_integer(frame, F.BLOCK_ROWS)
    strips = load_integer(frame, F.WORKSPACE) + slot * load_integer(frame, F.SLOT_BYTES)
    sums = strips + size * (2 * block_rows * strip + patch)
    image = depth * load_integer(frame, F.H) * load_integer(frame, F.W)
    for i in range(0, channels * patch, lanes):
        store(simd, sums, i, zeros(simd))
    first = part * load_integer(frame, F.SPLIT_STEPS)
    for n in range(first, min(load_integer(frame, F.N), first + load_integer(frame, F.SPLIT_STEPS))):
        if not is_finite(simd, load_integer(frame, F.SOURCE) + size * n * image, image):
            store_integer(frame, F.INFINITE, 1)
        for row in range(0, pooled_rows, block_rows):
            rows = min(block_rows, pooled_rows - row)
            for i in range(2 * rows):
                fill_strip(simd, frame, n, 2 * row + i, strips + size * i * strip)
            for k in range(channels):
                place = ((n * channels + k) * pooled_rows + row) * pooled_columns
                gradient = load_integer(frame, F.WEIGHT) + size * place
                indices = load_integer(frame, F.BIAS) + 8 * place
                table = load_integer(frame, F.PHASES)
                arguments = (
                    rows * pooled_columns,
                    gradient,
                    indices,
                    2 * row * J,
                    table,
                    strips,
                    sums + size * k * patch,
                )
                call(load_integer(frame, F.KERNEL), arguments)

    tap_rows, tap_columns = load_integer(frame, F.TAP_ROWS), load_integer(frame, F.TAP_COLUMNS)
    taps = tap_rows * tap_columns
    target = load_integer(frame, F.TARGET)
    if load_integer(frame, F.SPLITS) > 1:
        target = load_integer(frame, F.PARTIAL) + size * part * channels * depth * taps
    for k in range(channels):
        for s in range(tap_columns):
            for c in range(depth):
                for r in range(tap_rows):
                    total = load_scalar(simd, sums, k * patch + (s * depth + c) * tap_rows + r)
                    store_scalar(simd, target, (k * depth + c) * taps + r * tap_columns + s, total)


@cache
def accumulate_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that sums one part of the batch."""

    def accumulate(frame, task, slot):
        _accumulate(simd, frame, task, slot)

    return address_of(accumulate, 3)
