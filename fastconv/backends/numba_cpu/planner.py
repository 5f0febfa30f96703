"""The planner chooses an algorithm for each problem: every candidate predicts its cost, and the cheapest is taken.

Costs are in cycles of one thread that does one vector of multiply-adds in each cycle (the files tiling.py have the
arithmetic, and tuning/ the measured cost of each part):

    gemm        conv/implicit_gemm. Gathers the pixels under every tap in each task, 10 to 40 cycles a vector even if
                only a few channels use them; any sizes fill its tiles, since the pixels of the whole batch are one row

    direct      conv/direct. Copies the image once, 6 cycles a vector, and reads it in place; computes the
                gaps at the ends of rows, reach / (row + reach) of the work, and rounds each block of rows up to tiles

    winograd    conv/winograd. For kernels without strides, by several forms: (2x2) takes 16 multiply-adds for each 4
                pixels and each piece of 3 x 3 taps, where the definition has 36, (4x4) 46 for each 16; 60 to 270 cycles
                for each vector of 16 patches that is transformed, before and after. Forms of 5 x 5 and 7 x 7 taps and
                of lines of 7 save more. With dilation, images are copied to others in which taps are neighbours
                (conv/phases)

    batch       conv/image_lanes. Interleaves images, 8 to 18 cycles a vector on the way in and out, then computes
                only wanted numbers, except in the lanes that the last images don't fill

    matrix      conv/matmul. A product of matrices that are read in place: for 1 x 1 kernels, and kernels that cover
                their image, nothing is packed or gathered; otherwise pixels are gathered once for all tasks, and the
                weight of a forward pass isn't packed; not used where many rows would share a few sets of the L1 cache

    channels    conv/channel_lanes. Transposes images to rows of channels, 5 cycles a vector, and results back; packs
                the weight. Strides, dilations and short rows cost nothing, taps in the padding are left out

    depthwise   conv/depthwise. For one channel to a group: copies and packs nothing, a load and a multiply-add for
                each tap

    planes      conv/plane_lanes. For one channel to a group and rows of half a vector at most: transposes planes, 9
                cycles a vector on the way in and out, and computes only wanted products

Therefore large images with few channels go to `direct`, small images with many channels to `gemm`, few pixels with many
channels and dense layers to `matrix`, deep layers with strides or large dilations to `channels`, kernels of 3 x 3 and
more with some tens of channels to `winograd`, and small images in large batches to `batch`.
The planner knows an algorithm only by its folder and its row in the table (algorithms.py). Each form of Winograd's has
a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import Any

import numpy as np

from fastconv.backends.compiler.entry import Entry
from fastconv.backends.numba_cpu.algorithms import ALGORITHMS, NAMES
from fastconv.backends.numba_cpu.conv.column_matrix.plan import ColumnGradient
from fastconv.backends.numba_cpu.conv.plan import Cut, Plan
from fastconv.backends.numba_cpu.conv.tap_parts.plan import WeightGradientInParts
from fastconv.backends.numba_cpu.gemm import micro_kernel
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd, call, load_integer


@dataclass(frozen=True)
class Candidate:
    """A candidate is an algorithm for a problem, with its kind of plan, its tiling and its number of tasks."""

    algorithm: str
    kind: type[Plan]
    cut: Cut
    tasks: int

    @property
    def cycles(self) -> float:
        """Return the predicted cycles of all tasks together, on one thread."""
        return self.cut.cycles


def _candidate(simd: Simd, problem: Problem, algorithm: str, weight: bool) -> Candidate | None:
    row = ALGORITHMS[algorithm]
    kind: type[Plan] = row.weight_gradient if weight else row.convolution
    cut = kind.tiling(simd, problem)
    return None if cut is None else Candidate(algorithm, kind, cut, kind.tasks(problem, cut))


def candidates(simd: Simd, problem: Problem, algorithm: str | None = None, *, weight: bool) -> list[Candidate]:
    """Return the candidates for the problem, cheapest first; with ``weight``, those for its weight gradient.

    They are those of the ``algorithm`` asked for, in all its forms, or of all algorithms. A kind of plan that two
    algorithms share is one candidate, by the name of the first.
    """
    names = ALGORITHMS if algorithm is None else NAMES[algorithm]
    found: dict[type[Plan], Candidate] = {}
    for name in names:
        candidate = _candidate(simd, problem, name, weight)
        if candidate is not None:
            found.setdefault(candidate.kind, candidate)
    return sorted(found.values(), key=lambda candidate: candidate.cycles)


def choose(simd: Simd, problem: Problem, algorithm: str | None, *, weight: bool = False) -> Candidate | None:
    """Return the cheapest candidate, or that of the ``algorithm`` asked for; None if this algorithm can't do it."""
    return next(iter(candidates(simd, problem, algorithm, weight=weight)), None)


def plan(simd: Simd, job: Job, algorithm: str | None) -> Any:
    """Return the plan of a job by the algorithm asked for, or else by the cheapest.

    It is a `Convolution` or a `WeightGradient`, by conv/tap_parts if the job has parts, or a `ColumnGradient` if the
    job is a product that makes columns.
    """
    if job.parts:
        return WeightGradientInParts(simd, job)
    if job.columns is not None:
        return ColumnGradient(simd, job, job.columns, lambda product: plan(simd, product, algorithm))
    chosen = choose(simd, job.problem, algorithm, weight=job.along_rows)
    if chosen is None:
        raise ValueError(f"algorithm {algorithm!r} can't do {job.problem}")
    return chosen.kind.of(simd, job, chosen.cut)


def describe(candidate: Candidate) -> str:
    """Return one line that describes a candidate's tiling and tasks."""
    splits = candidate.cut.splits
    return f"{candidate.cut}; {candidate.tasks} tasks" + (f", {splits} of them added up" if splits > 1 else "")


def seconds(simd: Simd, candidate: Candidate, threads: int) -> float:
    """Return the predicted time of a candidate in seconds, from the measured speed of the micro-kernel."""
    return seconds_of(simd, candidate.cycles, candidate.tasks, threads)


def seconds_of(simd: Simd, cycles: float, tasks: int, threads: int) -> float:
    """Return the predicted time, in seconds, of ``tasks`` tasks that take ``cycles`` cycles together."""
    return cycles / vectors_a_second(simd) / min(threads, tasks)


@Entry
def _repeat(arguments):
    """Call the packed micro-kernel; the arguments are how often, its address, and its own arguments."""
    times, kernel = load_integer(arguments, 0), load_integer(arguments, 1)
    depth, a, b, c = (
        load_integer(arguments, 2),
        load_integer(arguments, 3),
        load_integer(arguments, 4),
        load_integer(arguments, 5),
    )
    step, bias, start, limits = (
        load_integer(arguments, 6),
        load_integer(arguments, 7),
        load_integer(arguments, 8),
        load_integer(arguments, 9),
    )
    for _ in range(times):
        call(kernel, (depth, a, b, c, step, bias, start, limits))
    return 0


@cache
def vectors_a_second(simd: Simd) -> float:
    """Return the vectors of multiply-adds that one thread does in a second.

    The speed is measured at the first call, which takes some milliseconds.
    """
    rows = micro_kernel.most_rows(simd.instructions)
    vectors, depth = micro_kernel.tile_vectors(rows, simd.instructions), 256
    width = vectors * simd.lanes
    a, b = np.ones(depth * rows, simd.dtype), np.ones(depth * width, simd.dtype)
    c, limits = np.empty((rows, width), simd.dtype), np.array([-np.inf, np.inf], simd.dtype)
    operands = (depth, a.ctypes.data, b.ctypes.data, c.ctypes.data, width, 0, 0, limits.ctypes.data)
    kernel = micro_kernel.packed(simd, rows, vectors)
    best = 0.0
    for _ in range(5):
        start = perf_counter()
        _repeat.call(100, kernel, *operands)
        best = max(best, 100 * depth * rows * vectors / (perf_counter() - start))
    return best
