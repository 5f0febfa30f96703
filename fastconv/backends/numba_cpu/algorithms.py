"""Which kind of plan an algorithm has, and the plan of a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastconv.backends.numba_cpu.conv.column_matrix.plan import ColumnGradient
from fastconv.backends.numba_cpu.conv.forward_plans import (
    BatchConvolution,
    Convolution,
    DepthwiseConvolution,
    DirectConvolution,
    GemmConvolution,
    MatrixConvolution,
    WinogradConvolution,
)
from fastconv.backends.numba_cpu.conv.weight_grad_plans import (
    BatchWeightAdjoint,
    DepthwiseWeightAdjoint,
    DirectWeightAdjoint,
    GemmWeightAdjoint,
    MatrixWeightAdjoint,
    WeightAdjoint,
    WinogradWeightAdjoint,
)
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.planner import choose
from fastconv.backends.numba_cpu.simd import Simd

_CONVOLUTION: dict[str, Callable[..., Convolution]] = {
    "gemm": GemmConvolution,
    "direct": DirectConvolution,
    "winograd": WinogradConvolution,
    "batch": BatchConvolution,
    "matrix": MatrixConvolution,
    "depthwise": DepthwiseConvolution,
}
_WEIGHT: dict[str, Callable[..., WeightAdjoint]] = {
    "gemm": GemmWeightAdjoint,
    "direct": DirectWeightAdjoint,
    "winograd": WinogradWeightAdjoint,
    "batch": BatchWeightAdjoint,
    "matrix": MatrixWeightAdjoint,
    "depthwise": DepthwiseWeightAdjoint,
}


def plan(simd: Simd, job: Job, algorithm: str | None) -> Any:
    """The plan of a job, a `Convolution` or a `WeightAdjoint`, by the algorithm asked for or else by the cheapest.

    A `ColumnGradient` if the job is a product that makes columns.
    """
    if job.columns is not None:
        return ColumnGradient(simd, job, job.columns, lambda product: plan(simd, product, algorithm))
    chosen = choose(simd, job.problem, algorithm, weight=job.along_rows)
    if chosen is None:
        raise ValueError(f"algorithm {algorithm!r} can't do {job.problem}")
    kinds = _WEIGHT if job.along_rows else _CONVOLUTION
    return kinds[chosen.algorithm](simd, job, chosen.cut)
