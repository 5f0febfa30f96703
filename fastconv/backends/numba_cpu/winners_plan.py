"""The adjoint for the weight through max pooling of 2 x 2 windows, ready to run: see winners.py."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu import winners
from fastconv.backends.numba_cpu.jobs import Job, jobs
from fastconv.backends.numba_cpu.plans import WeightAdjoint, describe_grid
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.strips import strip_numbers
from fastconv.geometry import ConvGeometry


class WinnersWeightAdjoint(WeightAdjoint):
    """From the pooled gradient and the indices that pooling kept."""

    _FIELDS = (F.SOURCE, F.WEIGHT, F.BIAS, F.TARGET), (F.PARTIAL, F.WORKSPACE)

    def __init__(self, simd: Simd, job: Job, cut: winners.WinnersTiling) -> None:
        p = job.problem
        super().__init__(simd, job, cut, winners.workspace_bytes(simd, p, cut))
        self._offsets = describe_grid(self.frame, p)
        self.frame[F.CHANNEL] = strip_numbers(simd, p)
        self._places = winners.offsets(simd, p, cut)
        self.frame[F.PHASES] = self._places.ctypes.data
        self.frame[F.KERNEL] = winners.kernel(simd, cut.tile_vectors)
        self._first = winners.accumulate_task(simd), cut.splits

    def weight_gradient(self, source: np.ndarray, grad: np.ndarray, indices: np.ndarray, target: np.ndarray) -> bool:
        """Fill ``target`` from the pooled ``grad``; whether the source was finite, else what is there is no use."""
        return self._execute(source, grad, indices, target)


@lru_cache(maxsize=512)
def winners_plan(simd: Simd, g: ConvGeometry) -> WinnersWeightAdjoint | None:
    """The plan for a convolution whose results were pooled; None where the dense way is the better, or the only one."""
    (job,), _ = jobs("conv2d_weight", g)
    if job.problem.lattice != (g.P, g.Q) or not g.input_shape[0]:
        return None
    cut = winners.winners_tiling(simd, job.problem)
    return None if cut is None else WinnersWeightAdjoint(simd, job, cut)
