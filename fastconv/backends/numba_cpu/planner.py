"""Which algorithm for which problem, and why: every candidate says what it would cost, and the cheapest is taken.

Costs are in cycles of one thread that does a vector of multiply-adds in each (`gemm/tiling.py` has the arithmetic, and what
each part was measured to cost):

    gemm        implicit_gemm, weight_gemm. Gathers the pixels under every tap, 10 to 18 cycles a vector however few
                channels use them; any sizes fill its tiles, since the pixels of the whole batch are one row

    direct      direct, direct_weight. Copies the image once, 6 cycles a vector, and reads it in place; computes the
                gaps at the ends of rows, reach / (row + reach) of the work, and rounds each block of rows up to tiles

    winograd    winograd, winograd_weight. For kernels without strides or dilation, in pieces of 3 x 3: 16 multiply-adds
                for each 4 pixels and piece, where 3 x 3 taps need 36 and four pieces of 5 x 5 need 100; 60 to 70 cycles
                for each vector of 16 patches that is transformed, before and after

    batch       batch, batch_weight. Interleaves images, 8 to 18 cycles a vector on the way in and out, then computes
                nothing that isn't wanted but the lanes that the last images leave over

    matrix      matrix. For 1 x 1 kernels, and kernels that cover their image: a product of matrices that are read where
                they lie, so nothing is packed or gathered; not where many rows would share a few sets of the L1 cache

    depthwise   depthwise. For one channel to a group: copies and packs nothing, a load and a multiply-add for each tap

So few channels and large images go to `direct`, many channels on small images to `gemm`, kernels of 3 x 3 and more with
some tens of channels to `winograd`, small images in large batches to `batch`, and dense layers to `matrix`. A further
algorithm is one more entry in `_CONVOLUTION` or `_WEIGHT` that estimates it, and one more kind of plan (algorithms.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import Protocol

import numpy as np

from fastconv.backends.jit import jit
from fastconv.backends.numba_cpu.conv.depthwise.rows import MOST_TAPS, WIDEST, shape_of
from fastconv.backends.numba_cpu.conv.depthwise.tiling import plane_tiling
from fastconv.backends.numba_cpu.conv.direct.tiling import direct_tiling, direct_weight_tiling
from fastconv.backends.numba_cpu.conv.image_lanes.tiling import batch_tiling, batch_weight_tiling
from fastconv.backends.numba_cpu.conv.matmul.tiling import matrix_tiling, matrix_weight_tiling
from fastconv.backends.numba_cpu.conv.winograd.tiling import winograd_tiling, winograd_weight_tiling
from fastconv.backends.numba_cpu.gemm import micro_kernel
from fastconv.backends.numba_cpu.gemm.tiling import tiling, weight_tiling
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd, call


class Cut(Protocol):
    """How a problem is cut up."""

    @property
    def fields(self) -> dict[int, int]:
        """What a frame says of it."""
        ...

    @property
    def splits(self) -> int:
        """Parts of a reduction that are added up at the end."""
        ...


@dataclass(frozen=True)
class Candidate:
    """An algorithm for a problem, how it would cut it up, and what that should cost in cycles of one thread."""

    algorithm: str
    cut: Cut
    cycles: float
    tasks: int


Estimate = Callable[[Simd, Problem], Candidate | None]
"""None where the algorithm can't do the problem."""


def _gemm(simd: Simd, p: Problem) -> Candidate:
    taps = len(p.taps)
    cut = tiling(simd, p.groups, p.rows, p.points, p.channels * taps, p.lattice[1], taps)
    return Candidate("gemm", cut, cut.cycles, p.groups * cut.blocks * cut.panel_blocks)


def _direct(simd: Simd, p: Problem) -> Candidate | None:
    cut = direct_tiling(simd, p.images, p.groups, p.rows, p.channels, p.lattice, p.reach, len(p.phases), len(p.taps))
    if cut is None:
        return None
    return Candidate("direct", cut, cut.cycles, p.images * p.groups * cut.blocks * cut.panel_blocks)


def _winograd(simd: Simd, p: Problem) -> Candidate | None:
    if p.pieces is None:
        return None
    cut = winograd_tiling(simd, p.images, p.groups, p.rows, p.channels, p.lattice, p.pieces[0] * p.pieces[1])
    return Candidate("winograd", cut, cut.cycles, p.groups * cut.blocks * cut.panel_blocks)


def _batch(simd: Simd, p: Problem) -> Candidate | None:
    cut = batch_tiling(simd, p)
    if cut is None:
        return None
    return Candidate("batch", cut, cut.cycles, cut.batches * p.groups * cut.blocks * cut.panel_blocks)


def _weight_gemm(simd: Simd, p: Problem) -> Candidate:
    taps = len(p.taps)
    cut = weight_tiling(simd, p.groups, p.rows, p.channels * taps, p.points, p.lattice[1], taps)
    return Candidate("gemm", cut, cut.cycles, p.groups * cut.blocks * cut.panel_blocks * cut.splits)


def _direct_weight(simd: Simd, p: Problem) -> Candidate | None:
    cut = direct_weight_tiling(
        simd, p.images, p.groups, p.rows, p.channels, p.lattice, p.reach, len(p.phases), len(p.taps)
    )
    if cut is None:
        return None
    return Candidate("direct", cut, cut.cycles, cut.splits * p.groups * cut.panel_blocks)


def _winograd_weight(simd: Simd, p: Problem) -> Candidate | None:
    if p.pieces is None:
        return None
    pieces = p.pieces[0] * p.pieces[1]
    cut = winograd_weight_tiling(simd, p.images, p.groups, p.rows, p.channels, p.lattice, pieces, len(p.taps))
    return Candidate("winograd", cut, cut.cycles, p.groups * cut.blocks * cut.panel_blocks * cut.splits * pieces)


def _batch_weight(simd: Simd, p: Problem) -> Candidate | None:
    cut = batch_weight_tiling(simd, p)
    return None if cut is None else Candidate("batch", cut, cut.cycles, cut.splits * p.groups * cut.panel_blocks)


def _depthwise(simd: Simd, p: Problem, weight: bool = False) -> Candidate | None:
    fits = p.channels == 1 and len(p.taps) <= MOST_TAPS and p.is_grid and p.lattice[1] <= WIDEST
    if not fits or max(p.target_step[1], p.source_step[1]) > 2:
        return None
    shape = shape_of(p.grid, p.source_step, p.target_step)
    cut = plane_tiling(simd, p.images, p.groups, p.rows, p.lattice, shape, weight=weight)
    return Candidate("depthwise", cut, cut.cycles, cut.parts * (cut.splits if weight else cut.blocks))


def _depthwise_weight(simd: Simd, p: Problem) -> Candidate | None:
    return _depthwise(simd, p, weight=True)


def _matrix(simd: Simd, p: Problem) -> Candidate | None:
    cut = matrix_tiling(simd, p)
    if cut is None:
        return None
    return Candidate("matrix", cut, cut.cycles, p.images * p.groups * cut.blocks * cut.panel_blocks)


def _matrix_weight(simd: Simd, p: Problem) -> Candidate | None:
    cut = matrix_weight_tiling(simd, p)
    return None if cut is None else Candidate("matrix", cut, cut.cycles, cut.blocks * cut.panel_blocks)


_CONVOLUTION: dict[str, Estimate] = {
    "gemm": _gemm,
    "direct": _direct,
    "winograd": _winograd,
    "batch": _batch,
    "matrix": _matrix,
    "depthwise": _depthwise,
}
_WEIGHT: dict[str, Estimate] = {
    "gemm": _weight_gemm,
    "direct": _direct_weight,
    "winograd": _winograd_weight,
    "batch": _batch_weight,
    "matrix": _matrix_weight,
    "depthwise": _depthwise_weight,
}

ALGORITHMS = tuple(_CONVOLUTION)

LIMITS = {
    "gemm": "any convolution",
    "direct": "images a row of which, all channels, takes 1.5 MiB at most",
    "winograd": "kernels on images without stride or dilation",
    "batch": "images whose rows under a kernel, of as many images as a vector has lanes, take 3 MiB at most",
    "matrix": "1 x 1 kernels without stride or padding; kernels as large as the image, all three ways",
    "depthwise": f"one channel to a group, at most {MOST_TAPS} taps, steps of one or two columns, rows up to {WIDEST}",
}
"""What each algorithm is for."""


def candidates(simd: Simd, problem: Problem, *, weight: bool) -> list[Candidate]:
    """What can do the problem, cheapest first; with ``weight``, its adjoint for the weight."""
    estimates = (_WEIGHT if weight else _CONVOLUTION).values()
    found = [candidate for estimate in estimates if (candidate := estimate(simd, problem)) is not None]
    return sorted(found, key=lambda candidate: candidate.cycles)


def choose(simd: Simd, problem: Problem, algorithm: str | None, *, weight: bool = False) -> Candidate | None:
    """The cheapest candidate, or the one of that ``algorithm``; None where that can't do it."""
    if algorithm is not None:
        return (_WEIGHT if weight else _CONVOLUTION)[algorithm](simd, problem)
    return candidates(simd, problem, weight=weight)[0]


def describe(candidate: Candidate) -> str:
    """How a candidate would go about it, in a line."""
    splits = candidate.cut.splits
    return f"{candidate.cut}; {candidate.tasks} tasks" + (f", {splits} of them added up" if splits > 1 else "")


def seconds(simd: Simd, candidate: Candidate, threads: int) -> float:
    """The predicted time, from the measured speed of the micro-kernel."""
    return candidate.cycles / vectors_a_second(simd) / min(threads, candidate.tasks)


@jit
def _repeat(times, function, arguments):
    for _ in range(times):
        call(function, arguments)


@cache
def vectors_a_second(simd: Simd) -> float:
    """Vectors of multiply-adds that one thread does in a second, measured at the first call, in some milliseconds."""
    rows = micro_kernel.most_rows(simd.instructions)
    vectors, depth = micro_kernel.tile_vectors(rows, simd.instructions), 256
    width = vectors * simd.lanes
    a, b = np.ones(depth * rows, simd.dtype), np.ones(depth * width, simd.dtype)
    c, floor = np.empty((rows, width), simd.dtype), np.array([-np.inf], simd.dtype)
    operands = (depth, a.ctypes.data, b.ctypes.data, c.ctypes.data, width, 0, 0, floor.ctypes.data)
    kernel = micro_kernel.packed(simd, rows, vectors)
    best = 0.0
    for _ in range(5):
        start = perf_counter()
        _repeat(100, kernel, operands)
        best = max(best, 100 * depth * rows * vectors / (perf_counter() - start))
    return best
