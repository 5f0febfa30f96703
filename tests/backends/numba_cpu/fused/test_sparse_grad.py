"""These tests compare gradients through max pooling from its argmax with torch to the bit.

They also see when the dense gradients are taken instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

import fastconv
from fastconv.backends.numba_cpu.fused import lowering as blocks
from fastconv.backends.numba_cpu.fused.sparse_grad import tiling as argmax_tiling
from fastconv.backends.numba_cpu.fused.sparse_grad.plan import (
    ArgmaxInputGradient,
    ArgmaxWeightGradient,
    argmax_plans,
)
from fastconv.backends.numba_cpu.fused.sparse_grad.tiling import input_tiling, weight_tiling
from fastconv.backends.numba_cpu.lowering import jobs
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.simd.instruction_set import AVX512
from fastconv.geometry import ConvGeometry
from fastconv.torch import chain_autograd, chains, conv2d_block
from tests import oracle
from tests.forced import FORCED, how, image
from tests.probes import by_fast_way

WIDE = Simd(AVX512, "float32")

GEOMETRIES = [
    ConvGeometry(20, 1, 28, 28, 6, 5, 5),
    ConvGeometry(35, 1, 6, 7, 5, 2, 2),
    image(1, 28, 28, 3, 3, 3, N=2),
    image(3, 11, 14, 7, 2, 2, N=3),
    image(2, 13, 12, 7, 1, 4, N=2, stride=(2, 3), padding=(0, 1, 3, 2)),
    ConvGeometry(2, 1, 15, 9, 1, 3, 2, dilation=(4, 1), padding=(5, 5, 3, 3)),
    ConvGeometry(3, 2, 9, 31, 4, 3, 1, dilation=(1, 7)),
    image(1, 3, 40, 2, 3, 9),
    image(1, 4, 4, 2, 3, 3, padding=(5, 5, 6, 6)),
    image(32, 14, 14, 9, 3, 3, N=3),
    image(17, 7, 6, 40, 3, 3, N=2),
    ConvGeometry(3, 10, 12, 12, 20, 5, 5),
    image(5, 13, 10, 3, 7, 7, N=2),
    ConvGeometry(2, 20, 12, 13, 5, 2, 3, stride=(2, 3), padding=(1, 0, 2, 1)),
    ConvGeometry(2, 9, 19, 12, 5, 4, 3, stride=(3, 1), dilation=(2, 1), padding=(3, 3, 1, 1)),
    ConvGeometry(2, 18, 15, 8, 4, 2, 2, stride=(5, 3)),
    image(33, 4, 5, 6, 3, 3, padding=(4, 4, 3, 3)),
]
SMALL = {"strips_bytes": 1, "plane_bytes": 1, "sums_bytes": 1, "lists_bytes": 4096}


def draw(g: ConvGeometry, dtype: str, relu: bool) -> dict[str, Any]:
    """Return operands of whole numbers, whose sums are exact, and an index for each window of 2 x 2.

    Many gradients are zero. After a ReLU there are results besides, some of them 0, some NaN, through which gradients
    pass.
    """
    rng = np.random.default_rng(g.W + g.K)
    rows, columns = g.P // 2, g.Q // 2
    x, w = (rng.integers(-4, 5, shape).astype(dtype) for shape in (g.input_shape, g.weight_shape))
    grad = np.maximum(rng.integers(-4, 5, (g.N, g.K, rows, columns)), -1).astype(dtype) + 1
    p = 2 * np.arange(rows)[:, None] + rng.integers(0, 2, grad.shape)
    q = 2 * np.arange(columns) + rng.integers(0, 2, grad.shape)
    indices = p * g.Q + q
    results = rng.choice([0, -0.0, 1, 5, np.nan], grad.shape).astype(dtype) if relu else None
    before = grad if results is None else np.where(results == 0, 0, grad)
    dense = np.zeros((g.N, g.K, g.P * g.Q), dtype)
    np.put_along_axis(dense, indices.reshape(g.N, g.K, -1), before.reshape(g.N, g.K, -1), axis=2)
    dense = dense.reshape(g.output_shape)
    return {"x": x, "w": w, "grad": grad, "indices": indices, "results": results, "dense": dense}


def problem(g: ConvGeometry) -> Any:
    (job,), _ = jobs("conv2d_weight", g)
    return job


def weight_plan(simd: Simd, g: ConvGeometry) -> ArgmaxWeightGradient | None:
    """Return the plan of the weight gradient, whatever it costs."""
    cut = weight_tiling(simd, problem(g).problem, 1.0)
    return None if cut is None else ArgmaxWeightGradient(simd, problem(g), cut)


def input_plan(simd: Simd, g: ConvGeometry) -> ArgmaxInputGradient | None:
    """Return the plan of the input gradient, whatever it costs."""
    cut = input_tiling(simd, problem(g).problem, 1.0)
    return None if cut is None else ArgmaxInputGradient(simd, problem(g), cut)


@pytest.mark.parametrize("simd", FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
@pytest.mark.parametrize("relu", [False, True], ids=["plain", "relu"])
@pytest.mark.parametrize("sizes", [{}, SMALL], ids=["whole", "in small blocks"])
def test_gradients_to_the_bit(simd: Simd, sizes: dict[str, int], relu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argmax_tiling, "COST", dataclasses.replace(argmax_tiling.COST, **sizes))
    in_planes, in_strips, several = 0, 0, 0
    for g in GEOMETRIES:
        given = draw(g, simd.dtype, relu)
        before = given["indices"], given["results"]
        for_x, for_w, _ = oracle.conv2d_gradients(given["x"], given["w"], given["dense"], how(g))
        by_weight, by_image = weight_plan(simd, g), input_plan(simd, g)
        if by_weight is None:  # a row of the kernel is longer than there are registers
            assert by_image is None
            assert simd.instructions.registers - 4 < g.S or g.dilation[1] > 1
            continue
        in_strips, in_planes = in_strips + (by_weight.cut.plane_w == 0), in_planes + (by_weight.cut.plane_w > 0)
        several += by_weight.cut.channels < g.K and by_weight.cut.block_rows < g.P // 2
        target = np.full(g.weight_shape, np.nan, simd.dtype)
        biases = np.full((by_weight.parts, g.K), np.nan, simd.dtype) if relu else None
        assert by_weight.execute(given["x"], given["grad"], *before, biases, target)
        np.testing.assert_array_equal(target, for_w, f"weight {g}")
        if biases is not None:
            np.testing.assert_array_equal(biases.sum(0), given["dense"].sum((0, 2, 3)), f"bias {g}")
        assert by_image is not None
        target = np.full(g.input_shape, np.nan, simd.dtype)
        assert by_image.execute(given["grad"], given["w"], *before, target)
        np.testing.assert_array_equal(target, for_x, f"image {g}")
    assert min(in_planes, in_strips) >= 4
    assert (several > 4) == bool(sizes)


def chosen(g: ConvGeometry, *, relu: bool = True, weight: bool = True, image: bool = True) -> list[bool]:
    return [plan is not None for plan in argmax_plans(WIDE, g, weight=weight, image=image, relu=relu)]


@pytest.mark.parametrize(
    "g",
    [
        ConvGeometry(2, 2, 8, 8, 4, 3, 3, groups=2),
        ConvGeometry(2, 1, 12, 12, 4, 3, 3, dilation=(1, 2)),
        ConvGeometry(2, 3, 8, 8, 4, 1, 1),
        ConvGeometry(2, 1, 5, 5, 4, 5, 5),
        ConvGeometry(0, 1, 8, 8, 4, 3, 3),
        ConvGeometry(2, 1, 9, 50, 4, 3, 29),
        ConvGeometry(100, 512, 2, 2, 512, 3, 3, padding=(1, 1, 1, 1)),
    ],
    ids=["groups", "gaps between columns", "pointwise", "one pixel", "no image", "long rows", "few pixels"],
)
def test_what_is_left_to_the_dense_way(g: ConvGeometry) -> None:
    assert chosen(g) == [False, False]


def test_what_is_not() -> None:
    """Second layers of small networks take the argmax for both gradients, first layers for the weight gradient."""
    second = image(32, 14, 14, 64, 3, 3, N=100)
    assert chosen(second) == [True, True]
    assert chosen(second, image=False) == [True, False]
    assert chosen(second, weight=False) == [False, True]
    assert chosen(ConvGeometry(100, 1, 28, 28, 30, 5, 5), image=False) == [True, False]


def test_no_plane_larger_than_the_cache() -> None:
    assert input_tiling(WIDE, problem(image(16, 100, 100, 16, 3, 3)).problem, 1.0) is None
    cut = weight_tiling(WIDE, problem(image(16, 100, 100, 16, 3, 3)).problem, 1.0)
    assert cut is not None
    assert cut.block_rows < 50


def both_gradients(
    shape: tuple[int, ...], more: dict[str, torch.Tensor] | None = None, **given: Any
) -> list[torch.Tensor]:
    """Return the gradients of image, weight and bias, from a block or from torch's own functions."""
    generator = torch.Generator().manual_seed(0)
    C = shape[1]
    x, w, b = (torch.randn(size, generator=generator) for size in (shape, (24, C, 3, 3), (24,)))
    leaves = {"x": x, "w": w, "b": b} | (more or {})
    x, w, b = (leaf.requires_grad_() for leaf in leaves.values())
    if given:
        y = conv2d_block(x, w, b, activation="relu", pool="max", **given)
    else:
        y = torch.nn.functional.max_pool2d(torch.nn.functional.conv2d(x, w, b).relu(), 2)
    return list(torch.autograd.grad(y, [x, w, b], torch.linspace(-1, 1, y.numel()).reshape(y.shape)))


@pytest.mark.parametrize("value", [0.0, torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize(("which", "where"), [("x", (0, 0, 0, 0)), ("x", (5, 19, 7, 8)), ("w", (3, 2, 1, 1))])
def test_numbers_that_are_not_finite_go_the_dense_way(value: float, which: str, where: tuple[int, ...]) -> None:
    """Such a number times a zero of the dense gradient is NaN, which the sparse gradient would miss."""
    shape = 40, 20, 8, 9
    generator = torch.Generator().manual_seed(1)
    more = {which: torch.randn(shape if which == "x" else (24, 20, 3, 3), generator=generator)}
    more[which][where] = value
    names = {name: more.get(name) for name in ("x", "w", "b")}
    given = {name: leaf for name, leaf in names.items() if leaf is not None}
    with mock.patch.object(chain_autograd, "gradients_again", side_effect=chain_autograd.gradients_again) as way:
        mine = both_gradients(shape, given, backend="numba")
    assert way.call_count == by_fast_way(value != 0)
    for one, other in zip(mine, both_gradients(shape, given), strict=True):
        torch.testing.assert_close(one, other, equal_nan=True, rtol=1e-4, atol=1e-4)


@pytest.fixture
def fresh_programs() -> Iterator[None]:
    """Forget the chains of blocks before and after the test, so that their programs are made anew."""
    chains._chain.cache_clear()
    yield
    chains._chain.cache_clear()


@pytest.mark.usefixtures("fresh_programs")
def test_not_for_another_algorithm() -> None:
    with mock.patch.object(blocks, "argmax_plans") as way:
        both_gradients((40, 20, 8, 8), backend="numba:gemm")
    way.assert_not_called()


@pytest.mark.usefixtures("fresh_programs")
@pytest.mark.parametrize("which", [(True, False), (False, True)], ids=["weight", "image"])
def test_one_gradient_from_the_argmax_and_one_dense(which: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the argmax gives one of the two gradients, the dense way gives the other."""
    made: list[list[bool]] = []

    def only(simd: Simd, g: ConvGeometry, **wanted: bool) -> tuple[Any, Any]:
        plans = weight_plan(simd, g), input_plan(simd, g)
        found = [plan if take else None for plan, take in zip(plans, which, strict=True)]
        made.append([plan is not None for plan in found])
        return found[0], found[1]

    monkeypatch.setattr(blocks, "argmax_plans", only)
    shape = 13, 18, 11, 10
    for one, other in zip(both_gradients(shape, backend="numba"), both_gradients(shape), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert made == by_fast_way([list(which)])


@pytest.mark.parametrize("shape", [(40, 1, 20, 20), (40, 20, 12, 12)], ids=["strips", "planes"])
def test_any_number_of_threads_gives_the_same_bits(shape: tuple[int, ...]) -> None:
    before = fastconv.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            fastconv.set_num_threads(threads)
            found.append(both_gradients(shape, backend="numba"))
    finally:
        fastconv.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
