"""This file says how a problem with dilation falls into phases, and what it costs to convolve these."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import ceil
from fastconv.geometry import Pair


@dataclass(frozen=True)
class Phases:
    """These are the phases of a problem: the distances between pixels of one phase, and where the first one begins."""

    dilation: Pair
    start: Pair
    """Row and column of the source that are row 0 and column 0 of the first phase: 0 or less."""
    problem: Problem
    """The problem of all phases, each of them an image."""


def phases_of(p: Problem) -> Phases | None:
    """Return the phases of a problem; None if its taps aren't at even distances, or it has strides."""
    axes = [_spread(axis) for axis in p.grid]
    if not p.is_grid or p.part or not p.source_step == p.target_step == (1, 1) or None in axes:
        return None
    down, right = (axis or 1 for axis in axes)
    if down == right == 1:
        return None
    (top, first_y), (left, first_x) = (_begin(axis[0], step) for axis, step in zip(p.grid, (down, right), strict=True))
    taps = tuple(
        (first_y + (dy - p.grid[0][0]) // down, first_x + (dx - p.grid[1][0]) // right, t) for dy, dx, t in p.taps
    )
    size = ceil(p.size[0] - top, down), ceil(p.size[1] - left, right)
    lattice = ceil(p.lattice[0], down), ceil(p.lattice[1], right)
    problem = replace(p, images=p.images * down * right, size=size, lattice=lattice, taps=taps)
    return Phases((down, right), (top, left), problem)


def _spread(places: tuple[int, ...]) -> int | None:
    """Return the distance between neighbours, 1 if there are none, or None if distances differ."""
    distances = {b - a for a, b in itertools.pairwise(places)} or {1}
    return distances.pop() if len(distances) == 1 else None


def _begin(first: int, step: int) -> tuple[int, int]:
    """Return where phases begin, and the first tap's offset in a phase; ``first`` is its offset in the image."""
    offset = ceil(first, step)
    return first - offset * step, offset


@dataclass(frozen=True)
class PhasedTiling:
    """This is the tiling of all phases of some images at a time."""

    inner: Any
    """The tiling of the phases of ``images`` images."""
    images: int
    tasks: int
    cycles: float
    splits: int = 1

    @property
    def fields(self) -> dict[str, int]:
        """Return no arguments: those of the phases are set by their own plan."""
        return {}

    def __str__(self) -> str:
        """Return a description for the planner's explanation."""
        return f"phases of {self.images} images; {self.inner}"


def phased_tiling(simd: Simd, p: Problem, kind: Any) -> PhasedTiling | None:
    """Return the tiling of a problem in phases by a ``kind`` of plan; None if the problem has no phases."""
    phases = phases_of(p)
    if phases is None:
        return None
    inner, channels = phases.problem, p.groups * p.channels
    rows, each = p.groups * p.rows, phases.dilation[0] * phases.dilation[1]
    numbers = each * (channels * inner.size[0] * inner.size[1] + rows * inner.lattice[0] * inner.lattice[1])
    if numbers * simd.itemsize > CPU.routes.most_bytes:
        return None
    images = min(p.images, max(1, CPU.routes.columns_bytes // (numbers * simd.itemsize)))
    problem = replace(inner, images=images * each)
    cut = kind.tiling(simd, problem)
    if cut is None:
        return None
    chunks = ceil(p.images, images)
    cycles = cut.cycles * p.images / images + CPU.routes.phase * numbers * p.images + CPU.routes.job * (3 * chunks - 1)
    return PhasedTiling(cut, images, kind.tasks(problem, cut), cycles)
