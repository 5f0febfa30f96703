"""Convolution and pooling, forwards and backwards, verified against torch in float64 before they are timed."""

from __future__ import annotations

from functools import lru_cache

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from bench.conftest import SECONDS
from fastconv.bench import contestants, truth
from fastconv.bench.operands import on_cpu
from fastconv.bench.problems import Problem


@lru_cache(maxsize=1)  # contestants on one problem follow one another
def _right(problem: Problem, operation: str) -> list[Tensor]:
    return truth.expected(problem, operation, on_cpu(problem))


@pytest.mark.benchmark(max_time=SECONDS, min_time=1e-5, warmup=False)
def test_operation(
    problem: Problem, operation: str, contestant: str, threads: int, benchmark: BenchmarkFixture
) -> None:
    adapter = contestants.make(contestant, threads)
    call = adapter.prepare(problem, operation, on_cpu(problem))
    wrong = truth.fault(adapter.arrays(call()), _right(problem, operation), truth.allowed(problem, operation))
    assert wrong is None, f"{contestant} is not timed: {wrong}"
    benchmark.group = f"{problem.name} {operation}"
    flops = problem.flops(operation)
    benchmark.extra_info.update(
        backend=contestant, threads=threads, flops=flops, bytes=problem.bytes(operation), dtype=problem.dtype
    )
    benchmark(call)
    if benchmark.stats is not None:  # None where benchmarks are switched off
        benchmark.extra_info["GFLOP/s"] = flops / benchmark.stats.stats.median / 1e9
