"""The adjoint for the weight through max pooling: torch's numbers to the bit, and when it is left to the dense way."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

import fastconv
from fastconv import registry
from fastconv.backends.base import Backend
from fastconv.backends.numba_cpu import blocks, winners
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.winners_plan import winners_plan
from fastconv.geometry import ConvGeometry
from fastconv.torch import conv2d_block
from tests import oracle
from tests.forced import FORCED, how, image

FIRST_LAYERS = [
    ConvGeometry(20, 1, 28, 28, 6, 5, 5),
    ConvGeometry(35, 1, 6, 7, 5, 2, 2),
    image(1, 28, 28, 3, 3, 3, N=2),
    image(3, 11, 14, 7, 2, 2, N=3),
    image(2, 13, 12, 7, 1, 4, N=2, stride=(2, 3), padding=(0, 1, 3, 2)),
    ConvGeometry(2, 1, 15, 9, 1, 3, 2, dilation=(4, 1), padding=(5, 5, 3, 3)),
    ConvGeometry(3, 2, 9, 31, 4, 3, 1, dilation=(1, 7)),
    image(1, 3, 40, 2, 3, 9),
    image(1, 4, 4, 2, 3, 3, padding=(5, 5, 6, 6)),
]


def draw(g: ConvGeometry, dtype: str) -> tuple[np.ndarray, ...]:
    """Whole numbers, whose sums are exact, and for each window of 2 x 2 one of its pixels: x, grad, indices, dense."""
    rng = np.random.default_rng(g.W + g.K)
    rows, columns = g.P // 2, g.Q // 2
    x = rng.integers(-4, 5, g.input_shape).astype(dtype)
    grad = rng.integers(-4, 5, (g.N, g.K, rows, columns)).astype(dtype)
    p = 2 * np.arange(rows)[:, None] + rng.integers(0, 2, grad.shape)
    q = 2 * np.arange(columns) + rng.integers(0, 2, grad.shape)
    indices = p * g.Q + q
    dense = np.zeros((g.N, g.K, g.P * g.Q), dtype)
    np.put_along_axis(dense, indices.reshape(g.N, g.K, -1), grad.reshape(g.N, g.K, -1), axis=2)
    return x, grad, indices, dense.reshape(g.output_shape)


def expected(x: np.ndarray, dense: np.ndarray, g: ConvGeometry) -> np.ndarray:
    return oracle.conv2d_gradients(x, np.zeros(g.weight_shape, x.dtype), dense, how(g))[1]


@pytest.mark.parametrize("simd", FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
@pytest.mark.parametrize("strips", [winners.STRIPS_BYTES, 1], ids=["whole", "row by row"])
def test_first_layers_to_the_bit(simd: Simd, strips: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winners, "STRIPS_BYTES", strips)
    winners_plan.cache_clear()
    taken = 0
    for g in FIRST_LAYERS:
        plan = winners_plan(simd, g)
        if plan is None:  # too long for so short vectors
            assert 4 * simd.lanes < g.C * g.R * g.S
            continue
        taken += 1
        assert plan.cut.block_rows == 1 or strips > 1
        x, grad, indices, dense = draw(g, simd.dtype)
        target = np.full(g.weight_shape, np.nan, simd.dtype)
        assert plan.weight_gradient(x, grad, indices, target)
        np.testing.assert_array_equal(target, expected(x, dense, g), str(g))
    assert taken >= 4
    winners_plan.cache_clear()


@pytest.mark.parametrize(
    "g",
    [
        ConvGeometry(2, 2, 8, 8, 4, 3, 3, groups=2),
        ConvGeometry(2, 1, 12, 12, 4, 3, 3, dilation=(1, 2)),
        ConvGeometry(2, 8, 8, 8, 4, 3, 3),
        ConvGeometry(2, 3, 8, 8, 4, 1, 1),
        ConvGeometry(2, 1, 5, 5, 4, 5, 5),
        ConvGeometry(0, 1, 8, 8, 4, 3, 3),
    ],
    ids=["groups", "gaps between columns", "long patches", "pointwise", "one pixel", "no image"],
)
def test_what_is_left_to_the_dense_way(g: ConvGeometry) -> None:
    assert winners_plan(FORCED[0], g) is None


def gradients(x: torch.Tensor, **given: Any) -> list[torch.Tensor]:
    """Of weight and bias, by a block or by torch's own functions."""
    generator = torch.Generator().manual_seed(0)
    w, b = (torch.randn(shape, generator=generator).requires_grad_() for shape in ((4, 1, 3, 3), (4,)))
    if given:
        y = conv2d_block(x, w, b, activation="relu", pool="max", **given)
    else:
        y = torch.nn.functional.max_pool2d(torch.nn.functional.conv2d(x, w, b).relu(), 2)
    return list(torch.autograd.grad(y, [w, b], torch.linspace(-1, 1, y.numel()).reshape(y.shape)))


@pytest.mark.parametrize("value", [0.0, torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("where", [(0, 0, 0, 0), (2, 0, 7, 8)])
def test_pixels_that_are_not_finite_go_the_dense_way(value: float, where: tuple[int, ...]) -> None:
    """Zeros of the pooling's gradient make NaN of them, which the short way would miss."""
    x = torch.randn(3, 1, 8, 9, generator=torch.Generator().manual_seed(1))
    x[where] = value
    dense = Backend.conv2d_block_backward
    with mock.patch.object(Backend, "conv2d_block_backward", autospec=True, side_effect=dense) as way:
        mine = gradients(x, backend="numba")
    assert way.call_count == (value != 0)
    for one, other in zip(mine, gradients(x), strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)


def test_only_where_nobody_wants_the_image_s_gradient_or_another_algorithm() -> None:
    x = torch.randn(3, 1, 8, 9)
    registry.get("numba")._single.cache_clear()  # type: ignore[attr-defined]
    with mock.patch.object(blocks, "winners_plan") as way:
        gradients(x, backend="numba:gemm")
        w = torch.randn(4, 1, 3, 3, requires_grad=True)
        y = conv2d_block(x.requires_grad_(), w, activation="relu", pool="max", backend="numba")
        y.sum().backward()
    way.assert_not_called()


def test_any_number_of_threads_gives_the_same_bits() -> None:
    x = torch.randn(40, 1, 20, 20, generator=torch.Generator().manual_seed(2))
    before = fastconv.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            fastconv.set_num_threads(threads)
            found.append(gradients(x, backend="numba"))
    finally:
        fastconv.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
