"""This file shares small planes between tasks, and predicts the cost of their convolution: see gemm/tiling.py."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastconv.backends.numba_cpu.conv.plane_lanes.row import Row
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import ceil, tasks_for

COST = CPU.plane_lanes


@dataclass(frozen=True)
class PlaneLanesTiling:
    """This is the tiling of a convolution of small planes."""

    planes: int
    """Channels in a task."""
    images: int
    """Images in a task."""
    parts: int
    """Tasks for all channels of some images."""
    blocks: int
    """Tasks for all images of some channels."""
    cycles: float
    used: float
    """Fraction of the lanes that hold wanted results."""
    splits: int = 1

    @property
    def fields(self) -> dict[str, int]:
        """Return the tiling as arguments of a job."""
        return {"task_planes": self.planes, "task_images": self.images}

    def __str__(self) -> str:
        some = f"{self.planes} planes of {self.images} images at a time"
        return f"{some}, a plane to a lane, {self.used:.0%} of the lanes wanted"


def plane_lanes_tiling(simd: Simd, p: Problem, row: Row) -> PlaneLanesTiling:
    """Return the tiling of a convolution from single channels, whose rows of results have the shape ``row``."""
    vectors = ceil(p.groups, simd.lanes)
    pixels, points = math.prod(p.size), math.prod(p.lattice)
    # Rows of taps that lie inside of the image, for all rows of results.
    rows = sum(0 <= i * p.source_step[0] + dy < p.size[0] for i in range(p.lattice[0]) for dy in p.grid[0])
    moved = sum(ceil(each, simd.lanes) * simd.lanes for each in (pixels, points))
    plane = rows * len(row.products) + COST.row * p.lattice[0] + COST.point * moved
    blocks = min(p.images, tasks_for(vectors))
    images = ceil(p.images, blocks)
    together = ceil(vectors, tasks_for(blocks))
    cycles = p.images * vectors * plane + blocks * vectors * COST.tap * len(p.taps)
    return PlaneLanesTiling(
        planes=together * simd.lanes,
        images=images,
        parts=ceil(vectors, together),
        blocks=ceil(p.images, images),
        cycles=cycles,
        used=p.groups / (vectors * simd.lanes),
    )
