"""All cases of the table, each rung, all types, on the GPU's own tensors, against torch in float64 on the processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fastconv.torch.functional as G
from fastconv import UnsupportedError
from fastconv.backends.numba_cuda.ladder import ALGORITHMS
from tests import oracle
from tests.cases import AVERAGES, CONVOLUTIONS, MAX_POOLINGS, ConvCase, PoolCase, named
from tests.tolerance import SCALED, assert_equal

from .conftest import DEVICE

SMALL = (
    "stride_2",
    "depthwise",
    "overlapping_padded",
    "ceil_padding-divisor_override=-2-count_include_pad=False",
)
"""Cases that the simulator does too."""


def marked(cases: list[Any]) -> list[Any]:
    return [
        pytest.param(case, id=named(case), marks=[pytest.mark.small] if named(case) in SMALL else []) for case in cases
    ]


TYPES = ["float32", "float64", "float16", "bfloat16"]

RUNGS = ["cuda", *(f"cuda:{name}" for name in ALGORITHMS)]


def drawn(shape: tuple[int, ...], dtype: str, seed: int) -> torch.Tensor:
    values = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))
    return values.to(getattr(torch, dtype)).to(DEVICE)


def exact(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def assert_close(found: torch.Tensor, expected: np.ndarray, dtype: str, rung: str, what: str) -> None:
    """By the table of tolerances; products in TF32 have 10 bits of mantissa, 5e-4 each at the most."""
    if rung.endswith("tf32") and dtype == "float32":
        scale = float(np.abs(expected).max(initial=0.0))
        assert np.abs(exact(found) - expected).max(initial=0.0) <= 3e-3 * scale, what
        return
    if dtype in ("float16", "bfloat16"):
        scale = float(np.abs(expected).max(initial=0.0))
        assert found.dtype == getattr(torch, dtype)
        assert np.abs(exact(found) - expected).max(initial=0.0) <= 1.1 * SCALED[dtype] * scale, what
        return
    assert_equal(found.detach().cpu().numpy(), expected, what)


@pytest.mark.parametrize("case", marked(CONVOLUTIONS))
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rung", RUNGS)
def test_convolution(rung: str, dtype: str, case: ConvCase) -> None:
    x, w = drawn(case.x, dtype, 1).requires_grad_(), drawn(case.w, dtype, 2).requires_grad_()
    b = drawn(case.w[:1], dtype, 3).requires_grad_() if case.bias else None
    if rung == "cuda:definition" and case.large and case.name != "long_axis":
        pytest.skip("one thread a sum takes minutes")
    try:
        y = G.conv2d(x, w, b, **case.how, backend=rung)
    except UnsupportedError:
        assert (rung, dtype) == ("cuda:tf32", "float64")
        return
    assert y.device.type == DEVICE.type
    grad = drawn(tuple(y.shape), dtype, 4)
    y.backward(grad)
    operands = exact(x), exact(w)
    assert_close(y, oracle.conv2d(*operands, None if b is None else exact(b), case.how), dtype, rung, "forward")
    expected = oracle.conv2d_gradients(*operands, exact(grad), case.how)
    for leaf, right, what in zip((x, w, b), expected, ("input", "weight", "bias"), strict=True):
        if leaf is not None:
            assert leaf.grad is not None
            assert_close(leaf.grad, right, dtype, rung, what)


@pytest.mark.parametrize("case", marked(MAX_POOLINGS))
@pytest.mark.parametrize("dtype", TYPES)
def test_max_pooling(dtype: str, case: PoolCase) -> None:
    x = drawn(case.x, dtype, 5).requires_grad_()
    y, indices = G.max_pool2d(x, case.kernel, **case.how, return_indices=True, backend="cuda")
    leaf = oracle.tensor(exact(x))
    right, places = F.max_pool2d(leaf, case.kernel, **case.how, return_indices=True)
    np.testing.assert_array_equal(exact(y), right.detach().numpy())
    inside = indices.cpu() >= 0
    np.testing.assert_array_equal(indices.cpu()[inside].numpy(), places[inside].numpy())
    grad = drawn(tuple(y.shape), dtype, 6)
    y.backward(grad)
    assert x.grad is not None
    if not inside.all():
        return  # torch puts the gradient of a window of padding anywhere
    expected = oracle.gradients(right, (leaf,), exact(grad))[0]
    assert_close(x.grad, expected, dtype, "cuda", "backward")
    # by the indices alone, as for a caller who doesn't know the pooling
    scattered = G.max_pool2d_backward(grad, indices, tuple(x.shape), backend="cuda")
    assert_close(scattered, expected, dtype, "cuda", "by indices")


@pytest.mark.parametrize("case", marked(AVERAGES))
@pytest.mark.parametrize("dtype", TYPES)
def test_average_pooling(dtype: str, case: tuple[PoolCase, dict[str, Any]]) -> None:
    pooling, extra = case
    x = drawn(pooling.x, dtype, 7).requires_grad_()
    y = G.avg_pool2d(x, pooling.kernel, **pooling.how, **extra, backend="cuda")
    leaf = oracle.tensor(exact(x))
    right = F.avg_pool2d(leaf, pooling.kernel, **pooling.how, **extra)
    assert_close(y, right.detach().numpy(), dtype, "cuda", "forward")
    grad = drawn(tuple(y.shape), dtype, 8)
    y.backward(grad)
    assert x.grad is not None
    assert_close(x.grad, oracle.gradients(right, (leaf,), exact(grad))[0], dtype, "cuda", "backward")


@pytest.mark.parametrize("rung", RUNGS)
def test_a_layer_of_resnet(rung: str) -> None:
    """Many blocks, whole and partial tiles, every split: 17 images of 72 channels on 29 x 31 pixels."""
    how = {"padding": 1, "stride": (1, 2)}
    x, w = (
        drawn((17, 72, 29, 31), "float32", 9).requires_grad_(),
        drawn((136, 72, 3, 3), "float32", 10).requires_grad_(),
    )
    y = G.conv2d(x, w, **how, backend=rung)
    grad = drawn(tuple(y.shape), "float32", 11)
    y.backward(grad)
    assert_close(y, oracle.conv2d(exact(x), exact(w), None, how), "float32", rung, "forward")
    expected = oracle.conv2d_gradients(exact(x), exact(w), exact(grad), how)
    assert x.grad is not None
    assert w.grad is not None
    assert_close(x.grad, expected[0], "float32", rung, "input")
    assert_close(w.grad, expected[1], "float32", rung, "weight")


def test_more_than_two_to_the_31_elements() -> None:
    """Addresses beyond 32 bits: the last image's results are those that it has alone."""
    x = torch.empty(2**31 // (64 * 128 * 128) + 2, 64, 128, 128, device=DEVICE)
    x[-1] = drawn((64, 128, 128), "float32", 12)
    w = drawn((8, 64, 3, 3), "float32", 13)
    for rung in ("cuda:gemm", "cuda:direct"):
        last = G.conv2d(x, w, padding=1, backend=rung)[-1]
        torch.testing.assert_close(last, G.conv2d(x[-1:], w, padding=1, backend=rung)[0], rtol=0, atol=0)
    pooled = G.max_pool2d(x, 2, backend="cuda")[-1]
    torch.testing.assert_close(pooled, F.max_pool2d(x[-1:], 2)[0], rtol=0, atol=0)
