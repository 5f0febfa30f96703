"""This file says how the phases of a problem with dilation lie in a mosaic, and what it costs to convolve that."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import ceil
from fastconv.geometry import Pair


@dataclass(frozen=True)
class Phases:
    """These are the phases of a problem; copy.py has the terms."""

    dilation: Pair
    start: Pair
    """Row and column of the source that are row 0 and column 0 of the first phase: 0 or less."""
    apart: Pair
    """Distances between neighbouring phases in a mosaic, in rows and columns."""
    problem: Problem
    """The problem of the mosaics."""


def phases_of(p: Problem) -> Phases | None:
    """Return the phases of a problem; None if its taps aren't at even distances, or it has strides."""
    axes = [_spread(axis) for axis in p.grid]
    if not p.is_grid or p.part or not p.source_step == p.target_step == (1, 1) or None in axes:
        return None
    down, right = (axis or 1 for axis in axes)
    if down == right == 1:
        return None
    sides = [
        _Side.of(axis, step, size, points)
        for axis, step, size, points in zip(p.grid, (down, right), p.size, p.lattice, strict=True)
    ]
    rows, columns = sides
    taps = tuple(
        (rows.first + (dy - p.grid[0][0]) // down, columns.first + (dx - p.grid[1][0]) // right, t)
        for dy, dx, t in p.taps
    )
    sizes, lattice = (rows.size, columns.size), (rows.points, columns.points)
    problem = replace(p, size=sizes, lattice=lattice, taps=taps, kept=False)
    return Phases((down, right), (rows.start, columns.start), (rows.apart, columns.apart), problem)


class _Side(NamedTuple):
    """This is one side of a mosaic: where phases begin, their distance, the first tap, and the numbers of pixels."""

    start: int
    apart: int
    first: int
    size: int
    points: int

    @classmethod
    def of(cls, axis: tuple[int, ...], step: int, size: int, points: int) -> _Side:
        """Return the side along an axis of taps, ``step`` apart, on a source and a lattice of some length."""
        # Phases begin at the image's first pixel, or before.
        first = ceil(axis[0], step)
        start = axis[0] - first * step
        pixels, results = ceil(size - start, step), ceil(points, step)
        # No phase may read pixels of the one before it, or of the next.
        apart = max(pixels, results, pixels - first, results + first + len(axis) - 1)
        before = (step - 1) * apart
        return cls(start, apart, first, before + pixels, before + results)


def _spread(places: tuple[int, ...]) -> int | None:
    """Return the distance between neighbours, 1 if there are none, or None if distances differ."""
    distances = {b - a for a, b in itertools.pairwise(places)} or {1}
    return distances.pop() if len(distances) == 1 else None


@dataclass(frozen=True)
class PhasedTiling:
    """This is the tiling of the mosaics of some images at a time."""

    inner: Any
    """The tiling of the mosaics of ``images`` images."""
    images: int
    tasks: int
    cycles: float
    splits: int = 1

    @property
    def fields(self) -> dict[str, int]:
        """Return no arguments: those of the mosaics are set by their own plan."""
        return {}

    def __str__(self) -> str:
        """Return a description for the planner's explanation."""
        return f"mosaics of the phases of {self.images} images; {self.inner}"


def phased_tiling(simd: Simd, p: Problem, kind: Any) -> PhasedTiling | None:
    """Return the tiling of a problem in phases by a ``kind`` of plan; None if the problem has no phases."""
    phases = phases_of(p)
    if phases is None:
        return None
    inner = phases.problem
    pixels, results = (math.prod(sides) for sides in (inner.size, inner.lattice))
    numbers = p.groups * (p.channels * pixels + p.rows * results)
    if numbers * simd.itemsize > CPU.routes.most_bytes:
        return None
    images = min(p.images, max(1, CPU.routes.columns_bytes // (numbers * simd.itemsize)))
    problem = replace(inner, images=images)
    cut = kind.tiling(simd, problem)
    if cut is None:
        return None
    chunks, step = ceil(p.images, images), phases.dilation[1]
    rows = p.groups * (p.channels * inner.size[0] + p.rows * inner.lattice[0])
    copied = CPU.routes.phase * (1 + step) * rows * step * ceil(phases.apart[1], simd.lanes)
    cycles = cut.cycles * p.images / images + copied * p.images + CPU.routes.job * (3 * chunks - 1)
    return PhasedTiling(cut, images, kind.tasks(problem, cut), cycles)
