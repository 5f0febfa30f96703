"""These tests take the algorithm with images in the lanes around every edge of its batches, tiles, rows and parts."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends.numba_cpu import planner
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.conv.image_lanes import tiling as batch_tiles
from fastconv.backends.numba_cpu.conv.image_lanes.plan import BatchConvolution, BatchWeightGradient
from fastconv.backends.numba_cpu.gemm.micro_kernel import most_rows
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd, instruction_set
from fastconv.geometry import ConvGeometry
from tests.forced import FORCED, assert_all_exact, assert_same_bits, assert_special_values_travel, image


@pytest.fixture(params=FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
def simd(request: pytest.FixtureRequest) -> Simd:
    return request.param


@pytest.fixture
def batch(simd: Simd) -> NumbaCpu:
    return NumbaCpu("forced", simd.instructions, "batch")


def test_every_number_of_images(batch: NumbaCpu, simd: Simd) -> None:
    """The batch has every number of images up to two vectors of lanes and one more."""
    counts = range(1, 2 * simd.lanes + 2)
    assert_all_exact(batch, (image(2, 5, 6, 3, 3, 3, N=count) for count in counts), simd)


def test_every_remainder_of_channels(batch: NumbaCpu, simd: Simd) -> None:
    """Channels leave every remainder of a tile's rows, and of a tile's columns in the weight gradient."""
    most = 2 * most_rows(simd.instructions) + 1
    assert_all_exact(batch, (image(count, 4, 5, most + 1 - count, 3, 3) for count in range(1, most + 1)), simd)


def test_every_width(batch: NumbaCpu, simd: Simd) -> None:
    """Widths leave every remainder of the squares of pixels that are transposed, and of tiles of lattice points."""
    widths = range(1, 2 * simd.lanes + 3)
    assert_all_exact(batch, (image(2, 3, width, 3, 3, 3, N=2) for width in widths), simd)
    assert_all_exact(batch, (image(2, 3, width, 9, 1, 1, N=2) for width in widths), simd)


def test_taps_that_miss_the_image(batch: NumbaCpu, simd: Simd) -> None:
    """Taps miss the image by several pixels on all sides, and some lattice rows and columns meet no pixel."""
    sides = [(4, 4, 4, 4), (0, 6, 6, 0), (9, 0, 0, 9), (5, 7, 8, 3)]
    assert_all_exact(batch, (image(2, 4, 5, 3, 3, 3, N=2, padding=each) for each in sides), simd)
    assert_all_exact(batch, [image(3, 2, 2, 4, 5, 5, N=3), image(2, 3, 2, 3, 7, 6, N=2), image(1, 1, 1, 1, 3, 3)], simd)


def test_strides_dilations_and_groups(batch: NumbaCpu, simd: Simd) -> None:
    steps = [((2, 2), (1, 1)), ((1, 3), (2, 1)), ((3, 1), (1, 4)), ((2, 3), (3, 2))]
    some = [image(2, 11, 13, 3, 3, 2, N=2, stride=by, dilation=apart) for by, apart in steps]
    some += [image(6, 7, 8, 9, 3, 3, N=2, groups=3), image(4, 7, 8, 4, 3, 3, N=2, groups=4, stride=(2, 1))]
    assert_all_exact(batch, some, simd)


def test_blocks_of_rows_and_channels(batch: NumbaCpu, simd: Simd) -> None:
    """Channels take several passes; rows, target channels and the weight gradient's reduction take several blocks."""
    chain = batch_tiles.COST.chain // 9
    wide, high = image(2 * chain + 1, 6, 7, 5, 3, 3, N=2), image(2, 40, 30, 3, 3, 3, N=2)
    many = image(3, 6, 5, 40 * most_rows(simd.instructions), 3, 3)
    assert_all_exact(batch, [wide, high, many, image(1, 28, 28, 30, 5, 5, N=2 * simd.lanes + 1)], simd)
    cuts = {}
    for name, g in (("wide", wide), ("high", high), ("many", many)):
        cuts[name] = batch._plans("conv2d", np.dtype(simd.dtype), g)[0][0].cut
    assert cuts["wide"].steps < wide.C
    assert cuts["high"].blocks > 1
    assert cuts["many"].panel_blocks > 1
    parts = image(2, 12, 10, 3, 3, 3, N=5 * simd.lanes)
    assert_all_exact(batch, [parts], simd)
    assert batch._plans("conv2d_weight", np.dtype(simd.dtype), parts)[0][0].cut.splits > 1


def test_it_runs_where_it_is_asked_for(batch: NumbaCpu, simd: Simd) -> None:
    g = image(4, 9, 9, 4, 3, 3)
    kinds = {type(batch._plans(each, np.dtype(simd.dtype), g)[0][0]) for each in ("conv2d", "conv2d_input")}
    assert kinds == {BatchConvolution}
    (gradient,), _, _ = batch._plans("conv2d_weight", np.dtype(simd.dtype), g)
    assert type(gradient) is BatchWeightGradient
    assert "3 MiB" in str(batch.refuses("conv2d", image(1, 3, 1 << 19, 1, 3, 3), simd.dtype))


SHAPES = [
    image(6, 14, 14, 16, 5, 5, N=100, padding=(0, 0, 0, 0)),
    image(70, 7, 7, 30, 5, 5, N=17),
    image(1, 28, 28, 6, 5, 5, N=40, stride=(2, 2)),
]


@pytest.mark.parametrize("g", SHAPES, ids=str)
def test_same_bits_for_any_number_of_threads(g: ConvGeometry, dtype: str) -> None:
    assert_same_bits(NumbaCpu("forced", algorithm="batch"), g, dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("padding", [(1, 1, 1, 1), (0, 0, 0, 0), (0, 2, 3, 1)])
def test_special_values_travel_as_in_torch(value: float, padding: tuple[int, ...], batch: NumbaCpu, simd: Simd) -> None:
    assert_special_values_travel(batch, image(3, 6, 7, 4, 3, 3, N=3, padding=padding), simd, value)


def test_it_is_the_planners_choice_for_small_images_in_large_batches() -> None:
    simd = Simd(instruction_set.AVX512, "float32")
    taps = tuple((r, s, 5 * r + s) for r in range(5) for s in range(5))
    for weight in (False, True):
        best = planner.choose(simd, Problem(96, 1, 16, 6, (10, 10), (6, 6), (1, 1), taps), None, weight=weight)
        assert best is not None
        assert best.algorithm == "batch"
