"""This file makes the plans of the gradients through max pooling of 2 x 2 windows from its argmax: see argmax.py."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fastconv.backends.kept import Kept
from fastconv.backends.numba_cpu.conv.depthwise.rows import tap_offsets
from fastconv.backends.numba_cpu.conv.job_arguments import extent
from fastconv.backends.numba_cpu.conv.plan import Plan, WeightGradient
from fastconv.backends.numba_cpu.fused.sparse_grad import argmax
from fastconv.backends.numba_cpu.fused.sparse_grad import input_grad as argmax_input
from fastconv.backends.numba_cpu.fused.sparse_grad import weight_grad as argmax_weight
from fastconv.backends.numba_cpu.fused.sparse_grad.arguments import ArgmaxArguments
from fastconv.backends.numba_cpu.fused.sparse_grad.listing import windows
from fastconv.backends.numba_cpu.fused.sparse_grad.strips import strip_numbers
from fastconv.backends.numba_cpu.fused.sparse_grad.tiling import (
    ArgmaxTiling,
    input_tiling,
    weight_tiling,
)
from fastconv.backends.numba_cpu.lowering import Job, jobs
from fastconv.backends.numba_cpu.routes import chosen_jobs, job_cycles
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.geometry import ConvGeometry

PLANS_BYTES = 32 << 20
"""Size limit of all plans that are kept, in bytes."""


class ArgmaxWeightGradient(WeightGradient):
    """Plans a weight gradient from the source, the pooled gradient and the indices that pooling kept.

    Two operands more may be None: the pooled results, for the gradient before a ReLU, and the bias gradient of each of
    the ``parts``.
    """

    arguments = ArgmaxArguments

    def __init__(self, simd: Simd, job: Job, cut: ArgmaxTiling) -> None:
        p = job.problem
        operands = "source", "grad", "indices", "results", "bias_grad", "target"
        super().__init__(simd, job, cut, argmax_weight.workspace_bytes(simd, p, cut), operands)
        self._offsets = tap_offsets(self.args, p)
        self._set(extent(p))
        self.args["strip"] = strip_numbers(simd, p)
        self.args["pixel_numbers"] = argmax_weight.pixel_numbers(simd, p, cut)
        blocks = self.args["channel_blocks"] = -(-p.rows // cut.channels)
        places = argmax_weight.places(simd, p, cut)
        starts = windows(places, cut.block_rows, p.lattice[1])
        self._tables = places, starts, argmax_weight.sums(simd, p, cut)
        self.args["places"], self.args["windows"], self.args["sums"] = (table.ctypes.data for table in self._tables)
        self._kernels = _kernels(argmax.gather_kernel, simd, cut)
        self.args["kernel"] = self._kernels.ctypes.data
        self._first = argmax_weight.accumulate(simd), cut.splits * int(blocks)
        self.parts = cut.splits


class ArgmaxInputGradient(Plan):
    """Plans an input gradient from the pooled gradient, the weight and the indices that pooling kept.

    One operand more may be None: the pooled results, for the gradient before a ReLU.
    """

    arguments = ArgmaxArguments

    def __init__(self, simd: Simd, job: Job, cut: ArgmaxTiling) -> None:
        p = job.problem
        panels = p.rows * cut.groups * cut.vectors * simd.lanes * simd.itemsize
        operands = "grad", "weight", "indices", "results", "target"
        thread_bytes = argmax_input.workspace_bytes(simd, p, cut)
        super().__init__(simd, job, cut, thread_bytes, panels, operands, "panels")
        self._set(extent(p))
        self.args["pixel_numbers"] = argmax_input.plane_numbers(simd, cut)
        places = argmax_weight.places(simd, p, cut)
        self._tables = places, windows(places, cut.block_rows, p.lattice[1])
        self.args["places"], self.args["windows"] = (table.ctypes.data for table in self._tables)
        self._kernels = _kernels(argmax.spread_kernel, simd, cut)
        self.args["kernel"] = self._kernels.ctypes.data
        self._first = argmax_input.pack(simd), p.rows
        self._second = argmax_input.distribute(simd), p.images * -(-cut.groups // cut.task_groups)


def _kernels(make: Callable[[Simd, int, int], int], simd: Simd, cut: ArgmaxTiling) -> np.ndarray:
    """Return the addresses of two kernels: for ``cut.tile_rows`` rows of a patch, and for the remaining rows."""
    heights = cut.tile_rows, cut.rows % cut.tile_rows or cut.tile_rows
    return np.array([make(simd, height, cut.columns) for height in heights], np.int64)


def _make_plans(
    simd: Simd, g: ConvGeometry, weight: bool, image: bool, relu: bool
) -> tuple[ArgmaxWeightGradient | None, ArgmaxInputGradient | None]:
    (job,), _ = jobs("conv2d_weight", g)
    p = job.problem
    if p.lattice != (g.P, g.Q) or not g.N or min(p.lattice) < 2:
        return None, None
    live = CPU.sparse_grad.live if relu else 1.0
    cuts = weight_tiling(simd, p, live) if weight else None, input_tiling(simd, p, live) if image else None
    dense = _dense("conv2d_weight", simd, g) if weight else 0.0, _dense("conv2d_input", simd, g) if image else 0.0
    spreading = CPU.sparse_grad.spread * math.prod(g.output_shape)
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
        None if by_weight is None else ArgmaxWeightGradient(simd, job, by_weight),
        None if by_image is None else ArgmaxInputGradient(simd, job, by_image),
    )


_plans = Kept(_make_plans, lambda made: sum(each.nbytes for each in made if each is not None), PLANS_BYTES)


def argmax_plans(
    simd: Simd, g: ConvGeometry, *, weight: bool, image: bool, relu: bool
) -> tuple[ArgmaxWeightGradient | None, ArgmaxInputGradient | None]:
    """Return the plans of the weight gradient and the input gradient of a convolution whose results were pooled.

    A plan is None where that gradient isn't wanted, and where the dense gradient should be faster. Dense gradients need
    the gradient of all the convolution's results, which is made once for both.

    Args:
        simd: the vectors to compute with.
        g: the convolution.
        weight, image: whether the weight gradient and the input gradient are wanted.
        relu: whether a ReLU follows the convolution, so that a share of the pooled gradient is zero.
    """
    return _plans(simd, g, weight, image, relu)


def _dense(operation: str, simd: Simd, g: ConvGeometry) -> float:
    """Return the predicted cycles of an operation on the gradient of all results."""
    found, _ = chosen_jobs(simd, operation, g, None)
    return sum(job_cycles(simd, job) for job in found)
