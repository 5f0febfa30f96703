"""This file cuts a convolution from single channels into planes and rows, by predicted cost: see gemm/tiling.py."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from fastconv.backends.numba_cpu.conv.depthwise.rows import Shape
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import LARGE_BYTES, TASKS, ceil, parts_of, tasks_for

COST = CPU.depthwise


@dataclass(frozen=True)
class PlaneTiling:
    """This is the tiling of a convolution from single channels."""

    planes: int
    """Planes, or target channels of a weight gradient, in a task."""
    parts: int
    block_rows: int
    blocks: int
    cycles: float
    used: float
    """Fraction of the lanes that hold wanted results."""
    splits: int = 1
    split_steps: int = 0
    """Blocks, counted through all images, in each part of a weight gradient."""

    @property
    def fields(self) -> dict[str, int]:
        """Return the tiling as arguments of a job."""
        return {
            "task_planes": self.planes,
            "block_rows": self.block_rows,
            "blocks": self.blocks,
            "splits": self.splits,
            "split_steps": self.split_steps,
        }

    def __str__(self) -> str:
        return f"{self.planes} planes, {self.block_rows} rows of each, at a time, {self.used:.0%} of the lanes wanted"


@lru_cache(maxsize=1024)
def plane_tiling(
    simd: Simd, images: int, groups: int, rows: int, lattice: tuple[int, int], shape: Shape, *, weight: bool
) -> PlaneTiling:
    """Return the tiling of ``groups`` convolutions from one channel to ``rows``, or of their ``weight`` gradient."""
    I, J = lattice
    vectors = -(-J // simd.lanes)
    taps = shape.rows * shape.columns
    loads = (shape.rows - shape.kept) * shape.columns * (COST.load if shape.step == 1 else 2 * COST.load)
    line = vectors * (COST.line * shape.target_step + taps + COST.spill * max(0, taps - COST.free_taps) + loads)
    before = vectors * (COST.call + 2 * taps)
    cycles = images * groups * rows * (I * line + before)
    planes, lines = (groups * rows, images * I) if weight else (images * groups, I)
    repeats = 1 if weight else rows
    # A task takes some planes if there are enough of them, or else some rows of one plane.
    together = max(1, min(-(-planes // TASKS), int(COST.task // (repeats * lines * line)) + 1))
    parts = -(-planes // together)
    block_rows = -(-I // max(1, min(tasks_for(parts), int(repeats * lines * line // COST.task) or 1)))
    blocks = -(-I // block_rows)
    used = J / (vectors * simd.lanes)
    if not weight and images * blocks == 1 and groups * I * J * shape.step**2 * simd.itemsize > LARGE_BYTES:
        block_rows, blocks, together = ceil(I, 2), 2, 2 * together
        parts = ceil(planes, together)
    if not weight:
        return PlaneTiling(together, parts, block_rows, blocks, cycles, used)
    units = images * blocks
    most = max(
        1,
        min(
            units,
            CPU.gemm.parts_bytes // (groups * rows * taps * simd.itemsize),
            int(lines * line // COST.task),
        ),
    )
    splits, split_steps = parts_of(units, min(most, tasks_for(parts)))
    return PlaneTiling(together, parts, block_rows, blocks, cycles, used, splits=splits, split_steps=split_steps)
