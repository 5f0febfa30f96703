"""These functions add up the partial results of a reduction that was split among tasks, from first part to last."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder, Step
from fastconv.backends.numba_cpu.simd import Simd, add, lanes_between, load_where, store_where, zeros
from fastconv.backends.numba_cpu.simd.task import task

_CHUNK = 4096
"""Numbers of the result that one task of `add_parts` computes."""


@task(ConvArguments)
def add_parts(simd, args, task, thread):
    """Compute `_CHUNK` numbers of the result, from task * `_CHUNK` on: each is the sum of the parts, first to last."""
    whole = args.groups * args.rows
    whole *= args.depth * args.tap_count
    parts, target = args.partial, args.target
    end = min(whole, (task + 1) * _CHUNK)
    for i in range(task * _CHUNK, end, simd.lanes):
        there = lanes_between(simd, 0, end - i)
        total = load_where(simd, parts, i, there, zeros(simd))
        for split in range(1, args.splits):
            total = add(simd, total, load_where(simd, parts, split * whole + i, there, zeros(simd)))
        store_where(simd, target, i, there, total)


def tasks(numbers: int) -> int:
    """Return the number of tasks of `add_parts` for a result of ``numbers`` numbers."""
    return -(-numbers // _CHUNK)


_PARTIAL, _TARGET = ConvArguments.positions("partial", "target")


def record(program: ProgramBuilder, simd: Simd, parts: Place, target: Place, count: int, number: int) -> None:
    """Record a step of a program that adds up ``number`` parts of ``count`` numbers each, from first to last."""
    args = ConvArguments.new(groups=1, depth=1, tap_count=1, rows=count, splits=number)
    program.add(args, [(_PARTIAL, parts), (_TARGET, target)], [Step(add_parts(simd), tasks(count), 1)])
