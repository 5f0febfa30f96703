"""These tests take the algorithm that reads matrices in place around every edge of its tiles, blocks and rows."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends.block import Block
from fastconv.backends.chain import Operands
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.conv.matmul import tiling as matrix_tiles
from fastconv.backends.numba_cpu.conv.matmul.plan import MatrixConvolution, MatrixWeightGradient
from fastconv.backends.numba_cpu.conv.matmul.tiling import matrix_tiling
from fastconv.backends.numba_cpu.conv.matmul.weight_tiling import WeightTiling, matrix_weight_tiling
from fastconv.backends.numba_cpu.conv.plan import Plan
from fastconv.backends.numba_cpu.gemm.micro_kernel import most_rows
from fastconv.backends.numba_cpu.lowering import jobs
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry
from tests.forced import FORCED, assert_all_exact, assert_same_bits, assert_special_values_travel, image


@pytest.fixture(params=FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
def simd(request: pytest.FixtureRequest) -> Simd:
    return request.param


@pytest.fixture
def matrix(simd: Simd) -> NumbaCpu:
    return NumbaCpu("forced", simd.instructions, "matrix")


def linear(N: int, features: int, K: int) -> ConvGeometry:
    return ConvGeometry(N, features, 1, 1, K, 1, 1)


def plan(numba: NumbaCpu, operation: str, g: ConvGeometry, simd: Simd) -> Plan:
    found = numba._plans(operation, np.dtype(simd.dtype), g)[0][0]
    assert isinstance(found, MatrixConvolution | MatrixWeightGradient)
    return found


def test_every_remainder_of_columns(matrix: NumbaCpu, simd: Simd) -> None:
    """Columns leave every remainder of a tile's vectors and a vector's lanes; no memory beyond them is written."""
    widths = range(1, 4 * simd.lanes + 2)
    assert_all_exact(matrix, (image(2, 1, width, 3, 1, 1, N=2) for width in widths), simd)
    assert_all_exact(matrix, (linear(3, width, 5) for width in widths), simd)
    assert_all_exact(matrix, (linear(5, 3, width) for width in widths), simd)


def test_every_remainder_of_rows(matrix: NumbaCpu, simd: Simd) -> None:
    most = 2 * most_rows(simd.instructions) + 1
    assert_all_exact(matrix, (image(3, 3, 5, count, 1, 1, N=2) for count in range(1, most + 1)), simd)
    assert_all_exact(matrix, (linear(count, 20, most + 1 - count) for count in range(1, most + 1)), simd)


def test_groups_and_planes(matrix: NumbaCpu, simd: Simd) -> None:
    some = [image(6, 4, 5, 9, 1, 1, N=3, groups=3), image(5, 7, 3, 5, 1, 1, N=2, groups=5)]
    # These kernels cover the whole image.
    some += [ConvGeometry(4, 3, 5, 7, 6, 5, 7), ConvGeometry(1, 2, 1, 40, 3, 1, 40)]
    assert_all_exact(matrix, some, simd)


def test_long_sums_and_many_blocks(matrix: NumbaCpu, simd: Simd) -> None:
    """Long sums take several passes, of which the last applies the limits; columns and rows take several tasks."""
    steps = matrix_tiles.COST.steps
    long, many = image(2 * steps + 3, 5, 3, 4, 1, 1, N=2), image(90, 14, 15, 130, 1, 1)
    dense = linear(70, 3 * steps + 1, 75)
    assert_all_exact(matrix, [long, many, dense], simd)
    cut = plan(matrix, "conv2d", long, simd).cut
    assert isinstance(cut, matrix_tiles.MatrixTiling)
    assert cut.steps < long.C
    cut = plan(matrix, "conv2d", many, simd).cut
    assert isinstance(cut, matrix_tiles.MatrixTiling)
    assert cut.blocks * cut.panel_blocks > 4
    assert cut.blocks > 1
    assert isinstance(cut := plan(matrix, "conv2d", dense, simd).cut, WeightTiling)
    assert cut.steps < dense.C
    assert cut.splits > 1
    assert cut.blocks > 1


def weight_cut(numba: NumbaCpu, g: ConvGeometry, simd: Simd) -> WeightTiling:
    cut = plan(numba, "conv2d_weight", g, simd).cut
    assert isinstance(cut, WeightTiling)
    return cut


def test_blocks_of_a_pointwise_weight_gradient(matrix: NumbaCpu, simd: Simd) -> None:
    """Blocks end with their image and have any length; parts have as many of them as come out."""
    sides = [(1, 1), (1, 3), (7, 7), (9, 11), (31, 31), (1, 1031)]
    assert_all_exact(matrix, (image(simd.lanes + 4, *side, 6, 1, 1, N=3, groups=2) for side in sides), simd)
    parts, wide, high = (
        image(3 * simd.lanes, 40, 41, 70, 1, 1, N=5),
        image(900, 14, 14, 300, 1, 1, N=2),
        image(3, 14, 14, 900, 1, 1, N=2),
    )
    for g in (parts, wide, high):
        assert_same_bits(matrix, g, simd.dtype)
    assert weight_cut(matrix, parts, simd).block_rows < 40 * 41
    assert weight_cut(matrix, parts, simd).splits > 4
    assert weight_cut(matrix, wide, simd).blocks > 1
    assert weight_cut(matrix, high, simd).panel_blocks > 1


BY_TAPS = [
    image(5, 9, 7, 9, 3, 3, N=3, stride=(2, 2), padding=(1, 1, 1, 1)),
    image(6, 17, 19, 9, 3, 2, N=2, stride=(1, 3), padding=(0, 2, 5, 0), groups=3),
    image(4, 7, 9, 10, 2, 3, dilation=(3, 2), padding=(2, 3, 0, 5), groups=2),
    image(33, 7, 7, 9, 1, 1, N=3, stride=(2, 2)),
    image(3, 5, 5, 9, 1, 1, N=2, stride=(1, 2), padding=(1, 0, 1, 2)),
    image(3, 3, 2, 4, 5, 5, N=2, padding=(4, 4, 4, 4)),
    image(7, 40, 90, 5, 3, 3, stride=(2, 1), padding=(1, 1, 1, 1)),
    image(20, 95, 30, 35, 3, 3, N=6, stride=(2, 2), padding=(1, 1, 1, 1)),
]
"""Weight gradients of several taps, or of pixels apart: blocks of one row and of several, and blocks in the padding."""


@pytest.mark.parametrize("g", BY_TAPS, ids=str)
def test_weight_gradients_by_taps(g: ConvGeometry, matrix: NumbaCpu, simd: Simd) -> None:
    assert_all_exact(matrix, [g], simd)
    assert_special_values_travel(matrix, g, simd, np.inf)
    assert_same_bits(matrix, g, simd.dtype)


def test_blocks_by_taps(matrix: NumbaCpu, simd: Simd) -> None:
    assert weight_cut(matrix, BY_TAPS[0], simd).block_rows > 1
    assert -(-48 // weight_cut(matrix, BY_TAPS[-1], simd).block_rows) > 2
    assert weight_cut(matrix, BY_TAPS[-1], simd).splits > 1


@pytest.mark.parametrize("dense", [False, True])
def test_relu(matrix: NumbaCpu, simd: Simd, dense: bool) -> None:
    """ReLU applies to complete sums, bias included."""
    rng = np.random.default_rng(3)
    steps = 2 * matrix_tiles.COST.steps
    g = linear(5, steps, 7) if dense else image(steps, 2, 9, 7, 1, 1, N=2)
    x, w, b = (rng.integers(-3, 4, shape).astype(simd.dtype) for shape in (g.input_shape, g.weight_shape, (g.K,)))
    y = matrix.conv2d(x, w, b, g)
    relu = np.full_like(y, np.nan)
    if dense:
        chain = matrix.chain((Block(g, "relu", None),), np.dtype(simd.dtype))
        assert chain.forward(Operands(x, (w, b), relu, None))
    else:
        (plan,), _, _ = matrix.plans("conv2d", simd, g, (0.0, np.inf))
        plan.run(x, w, b, relu)
    np.testing.assert_array_equal(relu, np.maximum(y, 0))
    assert (y < 0).any()


def test_what_it_is_not_for(simd: Simd) -> None:
    def taken(g: ConvGeometry) -> list[bool]:
        (forward,), (weight,) = jobs("conv2d", g)[0], jobs("conv2d_weight", g)[0]
        both = matrix_tiling(simd, forward.problem), matrix_weight_tiling(simd, weight.problem)
        return [cut is not None for cut in both]

    assert taken(image(3, 4, 5, 3, 1, 1)) == [True, True]
    assert taken(image(3, 4, 5, 3, 1, 1, N=2)) == [True, True]
    assert taken(image(4, 4, 5, 4, 1, 1, groups=2)) == [True, True]
    assert taken(image(3, 4, 5, 3, 3, 3)) == [True, True]
    assert not taken(image(3, 4, 2**14, 3, 3, 3))[1], "a row takes more than 384 KiB"
    # Rows are multiples of 4 KiB apart, or b takes more than 8 MiB.
    page = 4096 // simd.itemsize
    assert taken(image(3, 1, 2 * page, 3, 1, 1))[0], "a few"
    assert not taken(image(100, 1, 2 * page, 3, 1, 1))[0], "many"
    assert not taken(image(300, 90, 101, 3, 1, 1))[0]
    assert not taken(image(30, 90, 101, 3, 3, 3))[0]


GATHERED = [
    image(5, 9, 7, 9, 3, 3, N=3, stride=(2, 2)),
    image(4, 7, 9, 10, 2, 3, dilation=(3, 2), padding=(2, 3, 0, 5), groups=2, stride=(1, 3)),
    image(33, 7, 7, 9, 1, 1, N=3, stride=(2, 2)),
    image(3, 5, 5, 9, 1, 1, N=2, stride=(1, 2), padding=(1, 0, 1, 2)),
    image(3, 5, 5, 9, 2, 2, N=2, stride=(2, 2), padding=(0, 0, 0, 0)),
    image(45, 6, 5, 9, 3, 3),
    image(5, 7, 6, 230, 1, 1, N=2, stride=(2, 2)),
    image(5, 7, 6, 230, 1, 1, N=9, stride=(2, 2)),
]
"""Convolutions whose pixels are gathered: with strides, padding, groups, several images, and sums of several passes."""


@pytest.mark.parametrize("g", GATHERED, ids=str)
def test_gathered_pixels(g: ConvGeometry, matrix: NumbaCpu, simd: Simd) -> None:
    """Also the weight is read in place or packed: in order, a single tap, a tap that reads padding, taps backwards."""
    assert_all_exact(matrix, [g], simd)
    assert_special_values_travel(matrix, g, simd, np.inf)
    cut = plan(matrix, "conv2d", g, simd).cut
    assert isinstance(cut, matrix_tiles.MatrixTiling)
    assert cut.piece > 0


@pytest.mark.parametrize("rows", [1, 8, 13, 150])
def test_a_pixel_alone_in_the_last_vector(rows: int, matrix: NumbaCpu, simd: Simd) -> None:
    """Its results are dot products if the weight is read by rows, of a depth that leaves every kind of remainder."""
    whole, rest = image(simd.lanes, 1, simd.lanes + 1, rows, 1, 1), image(3 * simd.lanes + 1, 7, 7, rows, 1, 1, N=2)
    some = [whole, rest, image(4, 13, 13, rows, 3, 3, stride=(2, 2)), image(3, 7, 7, rows, 3, 3)]
    some.append(image(4 * simd.lanes, 17, 1, 2 * rows, 1, 1, groups=2))
    assert_all_exact(matrix, some, simd)
    assert_special_values_travel(matrix, rest, simd, np.nan)
    for g in some:
        assert plan(matrix, "conv2d", g, simd).args["alone"][0] == 1


def test_the_weight_is_packed_only_if_it_must_be(matrix: NumbaCpu, simd: Simd) -> None:
    def packed(operation: str, g: ConvGeometry) -> list[bool]:
        return [bool(each.args["pack_tasks"][0]) for each in matrix.plans(operation, simd, g)[0]]

    assert [packed("conv2d", g) for g in GATHERED] == [[False]] * len(GATHERED)
    assert packed("conv2d_input", GATHERED[0]) == [False, True, True, True]
    assert packed("conv2d_input", GATHERED[2]) == [False]
    assert packed("conv2d_input", GATHERED[-2]) == [False]
    assert packed("conv2d_input", GATHERED[-1]) == [True]
    assert packed("conv2d_input", GATHERED[4]) == [True, True, True, False]


def test_the_same_bits_for_any_number_of_threads(matrix: NumbaCpu, simd: Simd) -> None:
    assert_same_bits(matrix, image(90, 14, 15, 60, 1, 1), simd.dtype)
    assert_same_bits(matrix, linear(70, 401, 75), simd.dtype)
    assert_same_bits(matrix, GATHERED[0], simd.dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values(matrix: NumbaCpu, simd: Simd, value: float) -> None:
    assert_special_values_travel(matrix, image(3, 3, 7, 4, 1, 1), simd, value)
    assert_special_values_travel(matrix, ConvGeometry(3, 2, 3, 5, 4, 3, 5), simd, value)
