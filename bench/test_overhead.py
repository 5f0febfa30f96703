"""What a call costs when there is next to nothing to compute: one image of 8 x 8, one filter of 3 x 3."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

import fastconv
import fastconv.torch
from bench.conftest import SECONDS

X, W = np.ones((1, 1, 8, 8), np.float32), np.ones((1, 1, 3, 3), np.float32)

pytestmark = [pytest.mark.operation("overhead"), pytest.mark.benchmark(max_time=SECONDS)]


@pytest.mark.benchmark(group="overhead: conv2d on arrays")
def test_arrays(backend: str, benchmark: BenchmarkFixture) -> None:
    result = benchmark(lambda: fastconv.conv2d(X, W, backend=backend))
    np.testing.assert_array_equal(result, np.full((1, 1, 6, 6), 9))


@pytest.mark.benchmark(group="overhead: conv2d on tensors")
def test_tensors(backend: str, benchmark: BenchmarkFixture) -> None:
    x, w = torch.from_numpy(X), torch.from_numpy(W)
    result = benchmark(lambda: fastconv.torch.functional.conv2d(x, w, backend=backend))
    assert torch.equal(result, torch.full((1, 1, 6, 6), 9.0))


@pytest.mark.benchmark(group="overhead: conv2d on tensors")
def test_torch_itself(benchmark: BenchmarkFixture) -> None:
    x, w = torch.from_numpy(X), torch.from_numpy(W)
    benchmark(lambda: torch.nn.functional.conv2d(x, w))


@pytest.mark.benchmark(group="overhead: conv2d forward and backward on tensors")
def test_backward(backend: str, benchmark: BenchmarkFixture) -> None:
    x, w = torch.from_numpy(X), torch.from_numpy(W).clone().requires_grad_()
    benchmark(lambda: fastconv.torch.functional.conv2d(x, w, backend=backend).sum().backward())


@pytest.mark.benchmark(group="overhead: conv2d forward and backward on tensors")
def test_torch_itself_backward(benchmark: BenchmarkFixture) -> None:
    x, w = torch.from_numpy(X), torch.from_numpy(W).clone().requires_grad_()
    benchmark(lambda: torch.nn.functional.conv2d(x, w).sum().backward())
