"""This job computes the gradient through 2 x 2 average pooling and the activation before it, in one pass.

    target[n, k, i, j]  =  grad[n, k, i / 2, j / 2] / 4 * f'(saved[n, k, i, j])

The gradient is a quarter as large as what is written, so the pass is bound by the saved numbers and its own results.
Sums of planes come along, of which the bias gradient is made. For LeNet-5's first layer the pass takes 77 us, and
three passes that spread the gradient, multiply it and sum it take 136.
"""

from __future__ import annotations

from functools import cache

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.fused.batch_norm.sums import lane_sum
from fastconv.backends.numba_cpu.fused.formulas.activations import differentiate
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder, Step, Workspace
from fastconv.backends.numba_cpu.simd import (
    Simd,
    add,
    broadcast,
    fused,
    load_most,
    spread_high,
    spread_low,
    store_most,
    store_scalar,
    zeros,
)
from fastconv.backends.numba_cpu.simd.arguments import Arguments
from fastconv.backends.numba_cpu.simd.task import Task, task
from fastconv.threads import get_num_threads

_TASKS = 32
"""Largest number of tasks. It must not depend on the number of threads."""

_CHUNK = 1 << 14
"""A task writes whole planes until it has written this many numbers, so that it is worth waking a thread for."""


class AveragedArguments(Arguments):
    """Lists the arguments of a pass over ``planes`` planes of P x Q numbers."""

    grad: int
    """Address of the gradient of the averages, P / 2 x Q / 2 numbers for each plane."""
    saved: int
    """Address of the array that the activation's gradient reads."""
    target: int
    """Address of the gradient of the activation's inputs."""
    sums: int
    """Address of the sums of the planes of ``target``, or 0 if they aren't wanted."""
    workspace: int
    """Address of 64 bytes for each thread."""
    planes: int
    task_planes: int
    P: int
    Q: int


_OPERANDS = AveragedArguments.positions("grad", "saved", "target", "sums")
(_WORKSPACE,) = AveragedArguments.positions("workspace")


@cache
def _task(name: str) -> Task:
    """Return the task that computes the gradient before the activation ``name``, for some planes."""

    @inner
    def through(simd, grad, args, i, left, total):
        """Write some numbers of a row from number ``i`` of all on; return the sums with them."""
        value = differentiate(simd, name, grad, load_most(simd, args.saved, i, left, zeros(simd)))
        store_most(simd, args.target, i, left, value)
        return add(simd, total, value)

    @task(AveragedArguments)
    def spread_average(simd, args, task, thread):
        P, Q = args.P, args.Q
        rows, columns = P // 2, Q // 2
        quarter, scratch = broadcast(simd, 0.25), args.workspace + 64 * thread
        first = task * args.task_planes
        for plane in range(first, min(args.planes, first + args.task_planes)):
            total = zeros(simd)
            for p in range(rows):
                grads, above = (plane * rows + p) * columns, (plane * P + 2 * p) * Q
                for q in range(0, columns, simd.lanes):
                    left, at = 2 * (columns - q), above + 2 * q
                    grad = load_most(simd, args.grad, grads + q, columns - q, zeros(simd))
                    grad = fused(simd, grad, quarter, zeros(simd))
                    low, high = spread_low(simd, grad), spread_high(simd, grad)
                    for i in (at, at + Q):
                        total = through(simd, low, args, i, left, total)
                        if left > simd.lanes:
                            total = through(simd, high, args, i + simd.lanes, left - simd.lanes, total)
                if Q % 2:
                    total = through(simd, zeros(simd), args, above + Q - 1, 1, total)
                    total = through(simd, zeros(simd), args, above + 2 * Q - 1, 1, total)
            if P % 2:
                for j in range(0, Q, simd.lanes):
                    total = through(simd, zeros(simd), args, (plane * P + P - 1) * Q + j, Q - j, total)
            if args.sums:
                store_scalar(simd, args.sums, plane, lane_sum(simd, scratch, total))

    return spread_average


def record(
    program: ProgramBuilder,
    simd: Simd,
    activation: str,
    grad: Place,
    saved: Place,
    target: Place,
    planes: int,
    size: tuple[int, int],
    sums: Place | None = None,
) -> None:
    """Add a job that writes the gradient of an activation's inputs, from that of the averages of its results.

    Args:
        program: the program.
        simd: the vectors to compute with.
        activation: the activation's name.
        grad: the place of the gradient of the averages.
        saved: the place of the activation's inputs or results, as its class says.
        target: the place of the gradient to write.
        planes: number of planes.
        size: rows and columns of a plane; an odd last one is in no window.
        sums: the place of the sums of each plane to write, None if they aren't wanted.
    """
    P, Q = size
    task_planes = max(-(-planes // _TASKS), -(-_CHUNK // (P * Q)))
    args = AveragedArguments.new(planes=planes, task_planes=task_planes, P=P, Q=Q)
    tasks = -(-planes // task_planes)
    threads = get_num_threads() if tasks > 1 else 1
    places = zip(_OPERANDS, (grad, saved, target, sums), strict=True)
    program.add(
        args, places, [Step(_task(activation)(simd), tasks, threads)], Workspace(64 * threads, ((_WORKSPACE, 0),))
    )
