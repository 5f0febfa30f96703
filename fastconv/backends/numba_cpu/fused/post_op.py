"""These jobs apply an activation, after adding a residual, or compute its gradient, in one pass over an array.

    target  =  f(source + residual)          target  =  grad * f'(saved)

The passes are bound by memory: relu and adding a residual move 12 bytes a number, tanh takes some 25 instructions a
vector. In a program they follow the job that made the numbers, which are then mostly in a cache.
"""

from __future__ import annotations

from functools import cache

from fastconv.backends.compiler import Kernel, compiled, integers
from fastconv.backends.numba_cpu.fused.formulas.activations import NONE, apply, differentiate
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder, Step
from fastconv.backends.numba_cpu.simd import Simd, add, load_most, store_most, zeros
from fastconv.backends.numba_cpu.simd.arguments import Arguments
from fastconv.backends.numba_cpu.simd.task import Task, task
from fastconv.threads import get_num_threads

_CHUNK = 1 << 14
"""Length of the piece of an array that one task does, in numbers."""


class PostOpArguments(Arguments):
    """Lists the arguments of a pass over arrays of ``count`` numbers."""

    source: int
    """Address of the activation's inputs, or of the gradient of its results."""
    residual: int
    """Address of numbers to be added to the inputs, or 0 for none."""
    saved: int
    """Address of the array that the gradient reads; in the forward pass, where the sums are kept for it, or 0."""
    target: int
    """Address of the results, or of the gradient of the inputs."""
    count: int


_OPERANDS = PostOpArguments.positions("source", "residual", "saved", "target")


@cache
def _forward_task(name: str) -> Task:
    """Return the task that applies the activation ``name`` to a chunk."""

    @task(PostOpArguments)
    def apply_chunk(simd, args, task, thread):
        end = min(args.count, (task + 1) * _CHUNK)
        source, residual, saved, target = args.source, args.residual, args.saved, args.target
        for i in range(task * _CHUNK, end, simd.lanes):
            value = load_most(simd, source, i, end - i, zeros(simd))
            if residual != 0:
                value = add(simd, value, load_most(simd, residual, i, end - i, zeros(simd)))
            if saved != 0:
                store_most(simd, saved, i, end - i, value)
            store_most(simd, target, i, end - i, apply(simd, name, value))

    return apply_chunk


@compiled
def in_place(simd: Simd, name: str) -> Kernel:
    """Return the address of the function that applies the activation ``name``, which is compiled at the first call.

    It takes four integers: the address of the numbers, how many lie side by side, how many such rows there are, and the
    distance between rows, in numbers.
    """

    def activate(numbers, count, rows, step):
        if count == step:
            count, rows = rows * count, 1
        for first in range(0, rows * step, step):
            for i in range(0, count, simd.lanes):
                left = count - i
                value = load_most(simd, numbers, first + i, left, zeros(simd))
                store_most(simd, numbers, first + i, left, apply(simd, name, value))

    return integers(activate)


@cache
def _gradient_task(name: str) -> Task:
    """Return the task that computes a chunk of the gradient before the activation ``name``."""

    @task(PostOpArguments)
    def gradient_chunk(simd, args, task, thread):
        end = min(args.count, (task + 1) * _CHUNK)
        grad, saved, target = args.source, args.saved, args.target
        for i in range(task * _CHUNK, end, simd.lanes):
            before = load_most(simd, grad, i, end - i, zeros(simd))
            kept = load_most(simd, saved, i, end - i, zeros(simd))
            store_most(simd, target, i, end - i, differentiate(simd, name, before, kept))

    return gradient_chunk


def _record(program: ProgramBuilder, task: int, places: tuple[Place | None, ...], count: int) -> None:
    step = Step(task, -(-count // _CHUNK), get_num_threads())
    program.add(PostOpArguments.new(count=count), zip(_OPERANDS, places, strict=True), [step])


def record_forward(
    program: ProgramBuilder,
    simd: Simd,
    activation: str | None,
    source: Place,
    target: Place,
    count: int,
    *,
    residual: Place | None = None,
    saved: Place | None = None,
) -> None:
    """Add a job that writes the activation of ``count`` numbers, after adding a residual, to ``target``.

    The sums are also written to ``saved`` if that isn't None; places may be the same. Without activation the sums are
    the results.
    """
    task = _forward_task(activation or NONE)(simd)
    _record(program, task, (source, residual, saved, target), count)


def record_gradient(
    program: ProgramBuilder, simd: Simd, activation: str, grad: Place, saved: Place, target: Place, count: int
) -> None:
    """Add a job that writes the gradient of an activation's inputs to ``target``, which may be ``grad``.

    ``saved`` is the place of the activation's inputs or results, as its class says.
    """
    _record(program, _gradient_task(activation)(simd), (grad, None, saved, target), count)
