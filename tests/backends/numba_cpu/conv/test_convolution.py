"""These tests take the algorithms for any convolution, gemm and direct, around every edge of their tiles.

They run on each instruction set.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import fastconv
from fastconv.backends.numba_cpu import algorithms
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.conv.direct import tiling as direct_tiles
from fastconv.backends.numba_cpu.gemm import tiling as tiles
from fastconv.backends.numba_cpu.gemm.micro_kernel import most_rows
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry
from tests import oracle
from tests.forced import FORCED, assert_all_exact, how, image
from tests.tolerance import assert_equal

ALGORITHMS = ("gemm", "direct")


@pytest.fixture(params=FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
def simd(request: pytest.FixtureRequest) -> Simd:
    return request.param


@pytest.fixture(params=ALGORITHMS)
def numba(request: pytest.FixtureRequest, simd: Simd) -> NumbaCpu:
    """Return the backend with one algorithm, for one instruction set."""
    return NumbaCpu("forced", simd.instructions, request.param)


@pytest.fixture
def threads() -> Iterator[None]:
    """Restore the number of threads after the test."""
    before = fastconv.get_num_threads()
    yield
    fastconv.set_num_threads(before)


@pytest.mark.long
def test_every_remainder_of_rows(numba: NumbaCpu, simd: Simd) -> None:
    """Target channels leave every remainder of a tile's rows, in the forward pass and in the input gradient.

    Source channels are the input gradient's target channels.
    """
    most = 2 * most_rows(simd.instructions) + 1
    assert_all_exact(numba, (image(count, 3, 5, most + 1 - count, 2, 3) for count in range(1, most + 1)), simd)


def edges(lanes: int, vectors: int) -> list[int]:
    """Return counts around every multiple of a vector's lanes, up to two tiles and one more."""
    around = {lanes * count + off for count in range(2 * vectors + 1) for off in (-1, 0, 1)}
    return sorted(count for count in around if count > 0)


@pytest.mark.long
def test_every_remainder_of_pixels(numba: NumbaCpu, simd: Simd) -> None:
    counts = edges(simd.lanes, 4)
    assert_all_exact(numba, (image(2, 1, count, 1 + count % 3, 1, 3) for count in counts), simd)
    assert_all_exact(numba, (image(1, 2, 1, 3, 2, 1, N=count) for count in counts[::3]), simd)
    assert_all_exact(numba, (image(2, 3, count, 2, 1, 1) for count in counts[1::3]), simd)
    assert_all_exact(numba, (image(1, 5, count, 2, 3, 2, stride=(2, 2)) for count in counts[2::3]), simd)


@pytest.mark.parametrize("steps", [tiles.COST.steps, 2 * tiles.COST.steps], ids=lambda steps: f"{steps}_steps")
def test_remainders_of_the_reduction(steps: int, numba: NumbaCpu, simd: Simd) -> None:
    for depth in (steps - 1, steps, steps + 1):
        assert_all_exact(numba, [image(depth, 1, 3, 5, 1, 1)], simd)
    assert_all_exact(numba, [image(steps // 9 + 1, 2, 3, 4, 3, 3)], simd)
    # The input gradient adds up several passes before it writes pixels two apart.
    assert_all_exact(numba, [image(5, 7, 6, steps + 46, 1, 1, N=2, stride=(2, 2))], simd)


@pytest.mark.parametrize("steps", [tiles.COST.pixels, 4 * tiles.COST.pixels], ids=lambda steps: f"{steps}_pixels")
def test_remainders_of_the_reduction_over_pixels(steps: int, numba: NumbaCpu, simd: Simd) -> None:
    for pixels in (steps - 1, steps, steps + 1):
        assert_all_exact(numba, [image(1, 1, pixels, 3, 1, 2)], simd)
    assert_all_exact(numba, [image(2, 6, 7, 3, 1, 1, N=steps // 42 + 1)], simd)


def test_remainders_of_the_weights_columns(numba: NumbaCpu, simd: Simd) -> None:
    for count in edges(simd.lanes, 4)[::2]:
        assert_all_exact(numba, [image(count, 2, 2, 3, 1, 1)], simd)


ODD = [
    image(3, 9, 8, 4, 3, 3, N=2, stride=(2, 3)),
    image(3, 9, 8, 4, 3, 3, N=2, stride=(4, 1), padding=(0, 0, 0, 0)),
    image(4, 7, 9, 6, 2, 3, dilation=(3, 2), padding=(2, 3, 0, 5), groups=2),
    image(5, 6, 5, 5, 3, 3, groups=5),
    image(4, 11, 13, 8, 5, 5, N=3, stride=(2, 2), dilation=(1, 2), groups=4),
    image(2, 3, 3, 2, 2, 2, padding=(4, 4, 3, 3)),
    image(23, 12, 12, 31, 3, 3, N=3),
    image(2, 40, 3, 3, 7, 1),
    image(1, 1, 3000, 2, 1, 5, stride=(1, 2)),
    image(3, 33, 35, 5, 11, 11, stride=(4, 4)),
    image(130, 7, 7, 67, 1, 1, N=2, stride=(2, 2)),
]
"""Geometries with strides, dilation, padding, groups, tall and wide images, each with its lattices and phases."""


@pytest.mark.parametrize("g", ODD, ids=str)
def test_odd_geometries(g: ConvGeometry, numba: NumbaCpu, simd: Simd) -> None:
    assert_all_exact(numba, [g], simd)


def plans(numba: NumbaCpu, g: ConvGeometry, dtype: str) -> list[Any]:
    """Return the plans of those of the three primitives that the backend can do."""
    operations = [each for each in ("conv2d", "conv2d_input", "conv2d_weight") if not numba.refuses(each, g, dtype)]
    return [plan for operation in operations for plan in numba._plans(operation, np.dtype(dtype), g)[0]]


def test_algorithms_are_what_was_asked_for(numba: NumbaCpu, simd: Simd) -> None:
    cuts = {type(plan.cut) for plan in plans(numba, image(8, 14, 14, 8, 3, 3), simd.dtype)}
    assert cuts == {tiles.Tiling if numba.algorithm == "gemm" else direct_tiles.DirectTiling}


LARGE = [
    image(16, 28, 28, 24, 3, 3, N=4),
    image(64, 14, 14, 64, 1, 1, N=4),
    image(3, 64, 64, 16, 7, 7, N=2, stride=(2, 2)),
    image(32, 28, 28, 32, 3, 3, N=2, groups=32),
    image(256, 7, 7, 128, 3, 3),
]
"""Geometries that are large enough for several threads."""


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, None])
@pytest.mark.parametrize("g", LARGE, ids=str)
def test_same_bits_for_any_number_of_threads(g: ConvGeometry, algorithm: str | None, dtype: str, draw) -> None:
    numba = NumbaCpu("forced", algorithm=algorithm)
    x, w, b, grad = draw(*g.input_shape), draw(*g.weight_shape), draw(g.K), draw(*g.output_shape)

    def results(count: int) -> list[bytes]:
        fastconv.set_num_threads(count)
        found = numba.conv2d(x, w, b, g), numba.conv2d_input(grad, w, g), numba.conv2d_weight(x, grad, g)
        return [array.tobytes() for array in found]

    alone = results(1)
    for count in (2, 3, 7):
        for _ in range(3):
            assert results(count) == alone


DEEP = [
    image(512, 7, 7, 16, 3, 3),
    image(16, 7, 7, 512, 3, 3),
    image(8, 96, 96, 8, 3, 3, N=3),
    image(4096, 4, 4, 8, 1, 1),
]


def _rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, None])
@pytest.mark.parametrize("g", DEEP, ids=str)
def test_rms_error_of_deep_sums_is_at_most_twice_torchs(g: ConvGeometry, algorithm: str | None) -> None:
    """A float32 result may err twice as much as torch's, plus one rounding of the largest sum."""
    rng = np.random.default_rng(7)
    x, w, grad = (
        rng.standard_normal(shape, dtype=np.float32) for shape in (g.input_shape, g.weight_shape, g.output_shape)
    )
    numba = NumbaCpu("forced", algorithm=algorithm)
    operands = {"conv2d": (x, w, None), "conv2d_input": (grad, w), "conv2d_weight": (x, grad)}
    ours = {name: getattr(numba, name)(*operands[name], g) for name in operands}

    def by_torch(dtype: torch.dtype) -> tuple[np.ndarray, ...]:
        image, weight, gradient = (torch.from_numpy(array).to(dtype) for array in (x, w, grad))
        image.requires_grad_()
        weight.requires_grad_()
        assert g.padding[::2] == g.padding[1::2]
        y = torch.nn.functional.conv2d(image, weight, None, g.stride, g.padding[::2], g.dilation, g.groups)
        return tuple(a.detach().numpy() for a in (y, *torch.autograd.grad(y, (image, weight), gradient)))

    for name, theirs, exact in zip(operands, by_torch(torch.float32), by_torch(torch.float64), strict=True):
        budget = 2 * _rms(theirs - exact) + np.abs(exact).max() * 2.0**-24
        assert _rms(ours[name] - exact) <= budget, name


SPECIAL = [
    image(3, 6, 7, 4, 3, 3, N=2),
    image(3, 6, 7, 4, 3, 3, N=2, stride=(2, 2)),
    image(2, 5, 19, 3, 3, 2, dilation=(1, 2)),
    image(4, 6, 6, 4, 3, 3, groups=2, padding=(0, 2, 3, 1)),
    image(3, 5, 5, 4, 1, 1, N=2),
    image(3, 5, 5, 4, 1, 1, N=2, stride=(2, 2)),
    image(2, 9, 40, 5, 3, 3),
]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("g", SPECIAL, ids=str)
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, None])
def test_special_values_travel_as_in_torch(
    g: ConvGeometry, value: float, algorithm: str | None, dtype: str, draw
) -> None:
    """A single special value stands at a corner, an edge or in the middle of each operand in turn."""
    numba = NumbaCpu("forced", algorithm=algorithm)
    operands = {"x": draw(*g.input_shape), "w": draw(*g.weight_shape), "grad": draw(*g.output_shape)}
    for name, array in operands.items():
        _, channels, height, width = array.shape
        for row, column in {
            (0, 0),
            (0, width - 1),
            (height - 1, width - 1),
            (height // 2, width // 2),
            (1 % height, 0),
        }:
            changed = array.copy()
            changed[-1, channels // 2, row, column] = value
            x, w, grad = (changed if name == each else operands[each] for each in ("x", "w", "grad"))
            what = f"{name}[..., {row}, {column}]"
            for_x, for_w, _ = oracle.conv2d_gradients(x, w, grad, how(g))
            if name != "grad":
                assert_equal(numba.conv2d(x, w, None, g), oracle.conv2d(x, w, None, how(g)), f"forward, {what}")
            if name != "x":
                assert_equal(numba.conv2d_input(grad, w, g), for_x, f"input, {what}")
            if name != "w":
                assert_equal(numba.conv2d_weight(x, grad, g), for_w, f"weight, {what}")


WORKSPACE = 8 << 20
"""Size limit of the workspace of a thread, in bytes."""


@pytest.mark.long
@pytest.mark.parametrize("algorithm", [*algorithms.ALGORITHMS, None])
def test_workspaces_do_not_grow_with_image_or_batch(simd: Simd, algorithm: str | None) -> None:
    numba = NumbaCpu("forced", simd.instructions, algorithm)
    problems = [
        image(C, size, size, K, kernel, kernel, N, stride=(stride, stride), groups=groups)
        for N, size in ((1, 7), (1, 224), (64, 56), (1, 2048), (512, 512))
        for C, K, groups in ((1, 8, 1), (3, 64, 1), (64, 64, 1), (512, 512, 1), (2048, 512, 1), (256, 256, 256))
        for kernel, stride in ((1, 1), (3, 1), (3, 2), (7, 2))
    ]
    for g in problems:
        for plan in plans(numba, g, simd.dtype):
            assert plan.thread_bytes <= WORKSPACE, (type(plan.cut).__name__, g)


@pytest.mark.long
@pytest.mark.parametrize("simd", FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
@pytest.mark.parametrize("algorithm", ["gemm", "direct", "winograd(2x2)", "winograd(4x4)", "batch"])
def test_rows_that_a_panel_lacks_do_not_look_infinite(algorithm: str, simd: Simd) -> None:
    """Rows of a panel beyond the last channel hold whatever stood in memory before, and must not set the flag."""
    numba = NumbaCpu("forced", simd.instructions, algorithm)
    for K in range(1, 2 * most_rows(simd.instructions) + 2):
        g = image(2 * simd.lanes, 3, 4, K, 3, 3)
        (forward,), _, _ = numba._plans("conv2d", np.dtype(simd.dtype), g)
        x, w, y = (np.ones(shape, simd.dtype) for shape in (g.input_shape, g.weight_shape, g.output_shape))
        assert forward.execute(x, w, None, y), K
