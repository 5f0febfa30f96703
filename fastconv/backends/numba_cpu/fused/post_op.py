"""These jobs apply an activation, after adding a residual, or compute its gradient, in one pass over an array.

    target  =  f(source + residual)          target  =  grad * f'(saved)

The passes are bound by memory: relu and adding a residual move 12 bytes a number, tanh takes some 25 instructions a
vector. In a program they follow the job that made the numbers, which are then mostly in a cache. Whole vectors have no
mask.
"""

from __future__ import annotations

from functools import cache

from fastconv.backends.compiler import Kernel, compiled, integers
from fastconv.backends.numba_cpu.fused.activations import NONE, apply, differentiate
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder, Step
from fastconv.backends.numba_cpu.simd import Simd, add, lanes_between, load, load_where, store, store_where, zeros
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
        whole = end // simd.lanes * simd.lanes
        for i in range(task * _CHUNK, whole, simd.lanes):
            value = load(simd, source, i)
            if residual != 0:
                value = add(simd, value, load(simd, residual, i))
            if saved != 0:
                store(simd, saved, i, value)
            store(simd, target, i, apply(simd, name, value))
        for i in range(whole, end, simd.lanes):
            there = lanes_between(simd, 0, end - i)
            value = load_where(simd, source, i, there, zeros(simd))
            if residual != 0:
                value = add(simd, value, load_where(simd, residual, i, there, zeros(simd)))
            if saved != 0:
                store_where(simd, saved, i, there, value)
            store_where(simd, target, i, there, apply(simd, name, value))

    return apply_chunk


@compiled
def in_place(simd: Simd, name: str) -> Kernel:
    """Return the address of the function that applies the activation ``name``, which is compiled at the first call.

    It takes five integers: the address of the numbers, how many lie side by side, that of the residual, or 0, how many
    such rows there are, and the distance between rows, in numbers.
    """

    def activate(numbers, count, residual, rows, step):
        if count == step:
            count, rows = rows * count, 1
        whole = count // simd.lanes * simd.lanes
        for first in range(0, rows * step, step):
            for i in range(first, first + whole, simd.lanes):
                value = load(simd, numbers, i)
                if residual != 0:
                    value = add(simd, value, load(simd, residual, i))
                store(simd, numbers, i, apply(simd, name, value))
            if whole < count:
                i, there = first + whole, lanes_between(simd, 0, count - whole)
                value = load_where(simd, numbers, i, there, zeros(simd))
                if residual != 0:
                    value = add(simd, value, load_where(simd, residual, i, there, zeros(simd)))
                store_where(simd, numbers, i, there, apply(simd, name, value))

    return integers(activate)


@cache
def _gradient_task(name: str) -> Task:
    """Return the task that computes a chunk of the gradient before the activation ``name``."""

    @task(PostOpArguments)
    def gradient_chunk(simd, args, task, thread):
        end = min(args.count, (task + 1) * _CHUNK)
        grad, saved, target = args.source, args.saved, args.target
        for i in range(task * _CHUNK, end, simd.lanes):
            there = lanes_between(simd, 0, end - i)
            before, kept = load_where(simd, grad, i, there, zeros(simd)), load_where(simd, saved, i, there, zeros(simd))
            store_where(simd, target, i, there, differentiate(simd, name, before, kept))

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
