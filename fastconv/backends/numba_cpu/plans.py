"""Which kind of plan an algorithm has, and the plan of a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastconv.backends.numba_cpu.column_plan import ColumnGradient
from fastconv.backends.numba_cpu.convolution_plans import (
    BatchConvolution,
    Convolution,
    DepthwiseConvolution,
    DirectConvolution,
    GemmConvolution,
    MatrixConvolution,
    WinogradConvolution,
)
from fastconv.backends.numba_cpu.jobs import Job
from fastconv.backends.numba_cpu.planner import choose
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tap_parts import PartedConvolution, PartedWeightAdjoint
from fastconv.backends.numba_cpu.weight_plans import (
    BatchWeightAdjoint,
    DepthwiseWeightAdjoint,
    DirectWeightAdjoint,
    GemmWeightAdjoint,
    MatrixWeightAdjoint,
    WeightAdjoint,
    WinogradWeightAdjoint,
)

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

    A `ColumnGradient` if the job is a product that makes columns, a plan of `tap_parts` if it has parts.
    """
    if job.parts:
        return PartedWeightAdjoint(simd, job) if job.along_rows else PartedConvolution(simd, job)
    if job.columns is not None:
        return ColumnGradient(simd, job, job.columns, lambda product: plan(simd, product, algorithm))
    chosen = choose(simd, job.problem, algorithm, weight=job.along_rows)
    if chosen is None:
        raise ValueError(f"algorithm {algorithm!r} can't do {job.problem}")
    kinds = _WEIGHT if job.along_rows else _CONVOLUTION
    return kinds[chosen.algorithm](simd, job, chosen.cut)
