"""This job multiplies two arrays of images number by number, and adds up each plane: the gradient of channels' factors.

sums[n, c]  =  sum over u of a[n, c, u] b[n, c, u]
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.fused.batch_norm.sums import RUN, lane_sum
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder, Step, Workspace
from fastconv.backends.numba_cpu.simd import Simd, add, fused, lanes_between, load, load_where, store_scalar, zeros
from fastconv.backends.numba_cpu.simd.arguments import Arguments
from fastconv.backends.numba_cpu.simd.task import task
from fastconv.threads import get_num_threads

_CHUNK = 1 << 14
"""Length of the planes that one task does, in numbers."""


class PlaneDotsArguments(Arguments):
    """Lists the arguments of the sums of products."""

    a: int
    b: int
    sums: int
    workspace: int
    """Address of 64 bytes for each thread."""
    planes: int
    pixels: int
    task_planes: int
    """The number of planes that a task does."""


_OPERANDS = PlaneDotsArguments.positions("a", "b", "sums")
(_WORKSPACE,) = PlaneDotsArguments.positions("workspace")


@task(PlaneDotsArguments)
def _multiply_planes(simd, args, task, thread):
    a, b, pixels, lanes = args.a, args.b, args.pixels, simd.lanes
    scratch, whole = args.workspace + 64 * thread, args.pixels // (4 * simd.lanes) * (4 * simd.lanes)
    for plane in range(task * args.task_planes, min(args.planes, (task + 1) * args.task_planes)):
        begin, total = plane * pixels, 0.0
        for first in range(0, max(whole, 1), RUN):
            s, t, u, v = zeros(simd), zeros(simd), zeros(simd), zeros(simd)
            for i in range(begin + first, begin + min(whole, first + RUN), 4 * lanes):
                s = fused(simd, load(simd, a, i), load(simd, b, i), s)
                t = fused(simd, load(simd, a, i + lanes), load(simd, b, i + lanes), t)
                u = fused(simd, load(simd, a, i + 2 * lanes), load(simd, b, i + 2 * lanes), u)
                v = fused(simd, load(simd, a, i + 3 * lanes), load(simd, b, i + 3 * lanes), v)
            if first + RUN >= whole:
                for i in range(whole, pixels, lanes):
                    there = lanes_between(simd, 0, pixels - i)
                    one = load_where(simd, a, begin + i, there, zeros(simd))
                    s = fused(simd, one, load_where(simd, b, begin + i, there, zeros(simd)), s)
            total += lane_sum(simd, scratch, add(simd, add(simd, s, t), add(simd, u, v)))
        store_scalar(simd, args.sums, plane, total)


def record(program: ProgramBuilder, simd: Simd, a: Place, b: Place, sums: Place, planes: int, pixels: int) -> None:
    """Add the sums over ``planes`` planes of ``pixels`` numbers to a program."""
    task_planes, threads = max(1, _CHUNK // pixels), get_num_threads()
    args = PlaneDotsArguments.new(planes=planes, pixels=pixels, task_planes=task_planes)
    step = Step(_multiply_planes(simd), -(-planes // task_planes), threads)
    program.add(args, zip(_OPERANDS, (a, b, sums), strict=True), [step], Workspace(64 * threads, ((_WORKSPACE, 0),)))
