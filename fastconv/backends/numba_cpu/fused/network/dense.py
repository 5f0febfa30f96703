"""This job is a linear layer of few images, with its activation.

    y[n, k]  =  f(b[k] + sum over c of w[k, c] x[n, c])

It is bound by the memory that the weight comes from. A task does `ROWS` rows of the weight, `_STREAMS` of them side by
side: with as many streams a core reads 30 GB a second, with one 12. Further images read the rows from a cache. The
lanes of the sums are added up as rows of a transposed square.
"""

from __future__ import annotations

from functools import cache

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.fused.formulas.activations import NONE, apply
from fastconv.backends.numba_cpu.runtime import thread_pool as workers
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder, Step, Workspace
from fastconv.backends.numba_cpu.simd import (
    Simd,
    add,
    fused,
    lanes_between,
    load,
    load_where,
    store,
    store_where,
    transpose,
    zeros,
)
from fastconv.backends.numba_cpu.simd.arguments import Arguments
from fastconv.backends.numba_cpu.simd.task import Task, task
from fastconv.geometry import ConvGeometry

ROWS = 16
"""Rows of the weight that a task does, a multiple of `_STREAMS` and of all vectors' lanes."""

_STREAMS = 8

_MOST_IMAGES = 8
"""Most images for which reading the weight takes longer than the products."""

_BYTE = 20
"""Operations that a byte from memory counts as, in the choice of the number of threads."""


class DenseArguments(Arguments):
    """Lists the arguments of a linear layer (N, C) to (N, K)."""

    source: int
    weight: int
    bias: int
    """Address of the bias, or 0."""
    target: int
    workspace: int
    """Address of two blocks of `ROWS` vectors for each thread."""
    N: int
    K: int
    C: int


_OPERANDS = DenseArguments.positions("source", "weight", "bias", "target")
(_WORKSPACE,) = DenseArguments.positions("workspace")


@inner
def _finish(simd, args, name, n, first, sums, turned):
    """Add up the lanes of `ROWS` sums, and write the results of image ``n``."""
    lanes, size, rows = simd.lanes, simd.itemsize, args.K
    for square in range(0, ROWS, lanes):
        transpose(simd, sums + size * square * lanes, lanes, lanes, turned, lanes)
        total = load(simd, turned, 0)
        for lane in range(1, lanes):
            total = add(simd, total, load(simd, turned, lane * lanes))
        row = first + square
        there = lanes_between(simd, 0, rows - row)
        if args.bias != 0:
            total = add(simd, total, load_where(simd, args.bias, row, there, zeros(simd)))
        store_where(simd, args.target, n * rows + row, there, apply(simd, name, total))


@cache
def _task(name: str) -> Task:
    """Return the task that does some rows of the weight, with the activation ``name``."""

    @task(DenseArguments)
    def multiply_rows(simd, args, task, thread):
        images, rows, depth = args.N, args.K, args.C
        lanes, size = simd.lanes, simd.itemsize
        whole = depth // lanes * lanes
        rest = lanes_between(simd, 0, depth - whole)
        block = ROWS * lanes * size
        sums = args.workspace + 2 * block * thread
        turned = sums + block
        first = ROWS * task
        for n in range(images):
            x = args.source + size * n * depth
            for row in range(first, first + ROWS, _STREAMS):
                # Rows beyond the weight are copies of the last one, whose sums aren't stored.
                last = rows - 1
                at = args.weight
                w0, w1 = at + size * depth * min(row, last), at + size * depth * min(row + 1, last)
                w2, w3 = at + size * depth * min(row + 2, last), at + size * depth * min(row + 3, last)
                w4, w5 = at + size * depth * min(row + 4, last), at + size * depth * min(row + 5, last)
                w6, w7 = at + size * depth * min(row + 6, last), at + size * depth * min(row + 7, last)
                a0, a1, a2, a3 = zeros(simd), zeros(simd), zeros(simd), zeros(simd)
                a4, a5, a6, a7 = zeros(simd), zeros(simd), zeros(simd), zeros(simd)
                for c in range(0, whole, lanes):
                    value = load(simd, x, c)
                    a0 = fused(simd, value, load(simd, w0, c), a0)
                    a1 = fused(simd, value, load(simd, w1, c), a1)
                    a2 = fused(simd, value, load(simd, w2, c), a2)
                    a3 = fused(simd, value, load(simd, w3, c), a3)
                    a4 = fused(simd, value, load(simd, w4, c), a4)
                    a5 = fused(simd, value, load(simd, w5, c), a5)
                    a6 = fused(simd, value, load(simd, w6, c), a6)
                    a7 = fused(simd, value, load(simd, w7, c), a7)
                if whole < depth:
                    nothing = zeros(simd)
                    value = load_where(simd, x, whole, rest, nothing)
                    a0 = fused(simd, value, load_where(simd, w0, whole, rest, nothing), a0)
                    a1 = fused(simd, value, load_where(simd, w1, whole, rest, nothing), a1)
                    a2 = fused(simd, value, load_where(simd, w2, whole, rest, nothing), a2)
                    a3 = fused(simd, value, load_where(simd, w3, whole, rest, nothing), a3)
                    a4 = fused(simd, value, load_where(simd, w4, whole, rest, nothing), a4)
                    a5 = fused(simd, value, load_where(simd, w5, whole, rest, nothing), a5)
                    a6 = fused(simd, value, load_where(simd, w6, whole, rest, nothing), a6)
                    a7 = fused(simd, value, load_where(simd, w7, whole, rest, nothing), a7)
                there = (row - first) * lanes
                store(simd, sums, there, a0)
                store(simd, sums, there + lanes, a1)
                store(simd, sums, there + 2 * lanes, a2)
                store(simd, sums, there + 3 * lanes, a3)
                store(simd, sums, there + 4 * lanes, a4)
                store(simd, sums, there + 5 * lanes, a5)
                store(simd, sums, there + 6 * lanes, a6)
                store(simd, sums, there + 7 * lanes, a7)
            _finish(simd, args, name, n, first, sums, turned)

    return multiply_rows


def record(
    program: ProgramBuilder,
    simd: Simd,
    g: ConvGeometry,
    activation: str | None,
    places: tuple[Place, Place, Place | None, Place],
) -> None:
    """Add the layer to a program; the places are those of images, weight, bias and result."""
    bytes_read = g.K * g.C * simd.itemsize
    threads = workers.threads_for(_BYTE * bytes_read)
    step = Step(_task(activation or NONE)(simd), -(-g.K // ROWS), threads)
    size = 2 * ROWS * simd.lanes * simd.itemsize
    args = DenseArguments.new(N=g.N, K=g.K, C=g.C)
    operands = zip(_OPERANDS, places, strict=True)
    program.add(args, operands, [step], Workspace(size * threads, ((_WORKSPACE, 0),)))


def is_for(g: ConvGeometry) -> bool:
    """Return True for a linear layer of few images."""
    sides = g.H, g.W, g.R, g.S, g.P, g.Q, g.groups, *g.stride
    return set(sides) == {1} and not any(g.padding) and g.N <= _MOST_IMAGES
