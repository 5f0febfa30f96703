"""The adjoints through max pooling of 2 x 2 windows, ready to run: see winners.py."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fastconv.backends.kept import Kept
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu import winners, winners_input, winners_weight
from fastconv.backends.numba_cpu.jobs import Job, jobs
from fastconv.backends.numba_cpu.plan import Plan, describe_extent, describe_grid
from fastconv.backends.numba_cpu.routes import chosen_jobs, job_cycles
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.strips import strip_numbers
from fastconv.backends.numba_cpu.weight_plans import WeightAdjoint
from fastconv.backends.numba_cpu.winners_tiles import (
    LIVE,
    SPREAD_CYCLES,
    WinnersTiling,
    input_tiling,
    weight_tiling,
)
from fastconv.geometry import ConvGeometry

PLANS_BYTES = 32 << 20
"""Size limit of all plans that are kept, in bytes."""


class WinnersWeightAdjoint(WeightAdjoint):
    """The weight's gradient, from the pooled gradient and the indices that pooling kept."""

    _FIELDS = (F.SOURCE, F.WEIGHT, F.BIAS, F.TARGET), (F.PARTIAL, F.WORKSPACE)

    def __init__(self, simd: Simd, job: Job, cut: WinnersTiling) -> None:
        p = job.problem
        super().__init__(simd, job, cut, winners_weight.workspace_bytes(simd, p, cut))
        self._offsets = describe_grid(self.frame, p)
        describe_extent(self.frame, p)
        self.frame[F.STRIP] = strip_numbers(simd, p)
        self.frame[F.CHANNEL] = winners_weight.pixel_numbers(simd, p, cut)
        blocks = self.frame[F.PANEL_BLOCKS] = -(-p.rows // cut.channels)
        self._tables = winners_weight.places(simd, p, cut), winners_weight.sums(simd, p, cut)
        self.frame[F.PLACES], self.frame[F.SUMS] = (table.ctypes.data for table in self._tables)
        self._kernels = _kernels(winners.gather_kernel, simd, cut)
        self.frame[F.KERNEL] = self._kernels.ctypes.data
        self._first = winners_weight.accumulate_task(simd), cut.splits * int(blocks)

    def weight_gradient(self, source: np.ndarray, grad: np.ndarray, indices: np.ndarray, target: np.ndarray) -> bool:
        """Fill ``target`` from the pooled ``grad``; whether the source was finite, else what is there is no use."""
        return self._execute(source, grad, indices, target)


class WinnersInputAdjoint(Plan):
    """The image's gradient, from the pooled gradient, the weight, and the indices that pooling kept."""

    _FIELDS = (F.SOURCE, F.WEIGHT, F.BIAS, F.TARGET), (F.PANELS, F.WORKSPACE)

    def __init__(self, simd: Simd, job: Job, cut: WinnersTiling) -> None:
        p = job.problem
        panels = p.rows * cut.groups * cut.vectors * simd.lanes * simd.itemsize
        super().__init__(simd, job, cut, winners_input.workspace_bytes(simd, p, cut), panels, self._FIELDS)
        describe_extent(self.frame, p)
        self.frame[F.CHANNEL] = winners_input.plane_numbers(simd, cut)
        self._places = winners_weight.places(simd, p, cut)
        self.frame[F.PLACES] = self._places.ctypes.data
        self._kernels = _kernels(winners.spread_kernel, simd, cut)
        self.frame[F.KERNEL] = self._kernels.ctypes.data
        self._first = winners_input.pack_task(simd), p.rows
        self._second = winners_input.distribute_task(simd), p.images * -(-cut.groups // cut.task_groups)

    def input_gradient(self, grad: np.ndarray, weight: np.ndarray, indices: np.ndarray, target: np.ndarray) -> bool:
        """Fill ``target`` from the pooled ``grad``; whether the weight was finite, else what is there is no use."""
        return self._execute(grad, weight, indices, target)


def _kernels(make: Callable[[Simd, int, int], int], simd: Simd, cut: WinnersTiling) -> np.ndarray:
    """The kernels for the rows of a patch that are taken together, and for those that are left."""
    heights = cut.tile_rows, cut.rows % cut.tile_rows or cut.tile_rows
    return np.array([make(simd, height, cut.columns) for height in heights], np.int64)


def _make_plans(
    simd: Simd, g: ConvGeometry, weight: bool, image: bool, relu: bool
) -> tuple[WinnersWeightAdjoint | None, WinnersInputAdjoint | None]:
    (job,), _ = jobs("conv2d_weight", g)
    p = job.problem
    if p.lattice != (g.P, g.Q) or not g.N or min(p.lattice) < 2:
        return None, None
    live = LIVE if relu else 1.0
    cuts = weight_tiling(simd, p, live) if weight else None, input_tiling(simd, p, live) if image else None
    dense = _dense("conv2d_weight", simd, g) if weight else 0.0, _dense("conv2d_input", simd, g) if image else 0.0
    spreading = SPREAD_CYCLES * math.prod(g.output_shape)
    best = spreading + sum(dense), (False, False)
    for choice in ((True, False), (False, True), (True, True)):
        parts = list(zip(choice, cuts, dense, (weight, image), strict=True))
        if any(taken and cut is None for taken, cut, _, _ in parts):
            continue
        cycles = sum(cut.cycles if taken and cut else full for taken, cut, full, _ in parts)
        cycles += spreading if any(wanted and not taken for taken, _, _, wanted in parts) else 0
        best = min(best, (cycles, choice))
    by_weight, by_image = (cut if taken else None for cut, taken in zip(cuts, best[1], strict=True))
    return (
        None if by_weight is None else WinnersWeightAdjoint(simd, job, by_weight),
        None if by_image is None else WinnersInputAdjoint(simd, job, by_image),
    )


_plans = Kept(_make_plans, lambda made: sum(each.nbytes for each in made if each is not None), PLANS_BYTES)


def winners_plans(
    simd: Simd, g: ConvGeometry, *, weight: bool, image: bool, relu: bool
) -> tuple[WinnersWeightAdjoint | None, WinnersInputAdjoint | None]:
    """The plans for the weight and the image of a convolution whose results were pooled, as far as they are wanted.

    None for what isn't, and for what the dense way should do sooner. That way begins by making a gradient of all
    results, for the weight or the image or both. ``relu`` says whether results were raised to 0.
    """
    return _plans(simd, g, weight, image, relu)


def _dense(operation: str, simd: Simd, g: ConvGeometry) -> float:
    """The cycles of the dense way."""
    found, _ = chosen_jobs(simd, operation, g, None)
    return sum(job_cycles(simd, job) for job in found)
