"""Prints the plan of every problem of the bench, each pass, on each instruction set, without compiling anything."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from numba.core import event

import fastconv
from fastconv import ConvGeometry, PoolGeometry
from fastconv.backends.numba_cpu import planner
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.fused.sparse_grad.plan import argmax_plans
from fastconv.backends.numba_cpu.pooling.plan import average_backward, forward, max_backward
from fastconv.backends.numba_cpu.pooling.windows.state import AVERAGES, PLACES, VALUES
from fastconv.backends.numba_cpu.runtime import thread_pool as pool
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.bench.problems import PROBLEMS, Problem
from tests.backends.snapshots.addresses import asked_for, do_not_compile
from tests.backends.snapshots.lines import text_of
from tests.backends.snapshots.simds import SIMDS

OPERATIONS = ("conv2d", "conv2d_input", "conv2d_weight")

_CUT = ("tasks", "task_planes", "task_rows", "task_windows", "row_blocks", "block_rows", "ahead")
"""Arguments of a pooling that say how it is cut."""


_WHOLE = ("splits", 1)

_LEFT_OUT = ("width", "used")
"""What follows from other parameters of a tiling."""


def _words(values: dict[str, Any]) -> str:
    """Returns the values as words, without what is 0, and one split; cycles have six digits."""
    told = {key: value for key, value in values.items() if value and key not in _LEFT_OUT and (key, value) != _WHOLE}
    kept = {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in told.items()}
    return " ".join(f"{key}={value}" for key, value in kept.items())


def _convolutions(simd: Simd, g: ConvGeometry) -> Iterator[tuple[str, str]]:
    numba = NumbaCpu("planned", simd.instructions)
    for operation in OPERATIONS:
        plans, jobs, complete = numba.plans(operation, simd, g)
        for number, (plan, job) in enumerate(zip(plans, jobs, strict=True)):
            p = job.problem
            candidate, *others = planner.candidates(simd, p, weight=job.along_rows)
            what = {
                "lattice": "x".join(map(str, p.lattice)),
                "taps": len(p.taps),
                "part": p.part,
                "exchanged": job.exchanged,
                "columns": job.columns is not None,
                "incomplete": not complete,
                "tasks": candidate.tasks,
                "thread_bytes": plan.thread_bytes,
                **{f"not_{each.algorithm}": each.cycles for each in sorted(others, key=lambda each: each.algorithm)},
                "alone": pool.threads_for(p.flops) == 1,
            }
            yield f"{operation} {number}", f"{candidate.algorithm} {_words(asdict(plan.cut))} {_words(what)}"
    found = argmax_plans(simd, g, weight=True, image=True, relu=True)
    for name, each in zip(("weight", "input"), found, strict=True):
        if each is not None:
            told = f"argmax {_words(vars(each.cut))} {_words({'thread_bytes': each.thread_bytes})}"
            yield f"through_max_pooling {name}", told


def _poolings(simd: Simd, g: PoolGeometry, kind: str) -> Iterator[tuple[str, str]]:
    if kind == "max":
        jobs = {
            "max_pool2d": forward(simd, g, PLACES),
            "max_pool2d_values": forward(simd, g, VALUES),
            "max_pool2d_backward": max_backward(simd, g.N * g.C, (g.H, g.W), (g.P, g.Q)),
        }
    else:
        jobs = {"avg_pool2d": forward(simd, g, AVERAGES), "avg_pool2d_backward": average_backward(simd, g)[0]}
    for operation, job in jobs.items():
        task = asked_for[job.task - 1]
        cut = {name: job.tasks if name == "tasks" else int(job.args[name][0]) for name in _CUT}
        yield operation, f"{task} {_words(cut)}"


def _plans(problem: Problem, simd: Simd) -> Iterator[tuple[str, str]]:
    if isinstance(problem.geometry, ConvGeometry):
        return _convolutions(simd, problem.geometry)
    return _poolings(simd, problem.geometry, problem.kind)


def plans() -> dict[str, str]:
    """Returns each plan by instruction set, type, problem, pass and number of the job."""
    return {
        f"{simd.instructions.name} {simd.dtype} {problem.name} {operation}": what
        for simd in SIMDS
        for problem in PROBLEMS
        for operation, what in _plans(problem, simd)
    }


def main() -> None:
    """Print the plans, for one thread and for two: only whether a problem is left to one may differ."""
    do_not_compile()
    with event.install_recorder("numba:compile") as compilations:
        fastconv.set_num_threads(1)
        alone = plans()
        fastconv.set_num_threads(2)
        found = plans()
    assert not compilations.buffer, compilations.buffer
    assert {name: what.removesuffix(" alone=True") for name, what in alone.items()} == {
        name: what.removesuffix(" alone=True") for name, what in found.items()
    }
    sys.stdout.write(text_of(found))


if __name__ == "__main__":
    main()
