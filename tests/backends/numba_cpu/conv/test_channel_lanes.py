"""These tests take the algorithm with target channels in the lanes around every edge of its tiles, rows and blocks."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.conv.channel_lanes.plan import ChannelsConvolution
from fastconv.backends.numba_cpu.conv.channel_lanes.tiling import ChannelsTiling, channels_tiling, runs_of
from fastconv.backends.numba_cpu.lowering import jobs
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry
from tests.forced import FORCED, assert_all_exact, assert_same_bits, assert_special_values_travel, image


@pytest.fixture(params=FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
def simd(request: pytest.FixtureRequest) -> Simd:
    return request.param


@pytest.fixture
def channels(simd: Simd) -> NumbaCpu:
    return NumbaCpu("forced", simd.instructions, "channels")


def cut_of(numba: NumbaCpu, g: ConvGeometry, simd: Simd) -> ChannelsTiling:
    found = numba._plans("conv2d", np.dtype(simd.dtype), g)[0][0]
    assert isinstance(found, ChannelsConvolution)
    assert isinstance(found.cut, ChannelsTiling)
    return found.cut


def test_every_remainder_of_target_channels(channels: NumbaCpu, simd: Simd) -> None:
    """Target channels leave every remainder of a tile's vectors and a vector's lanes."""
    counts = range(1, 4 * simd.lanes + 2, 3)
    assert_all_exact(channels, (image(3, 4, 5, count, 2, 3) for count in counts), simd)


def test_every_remainder_of_source_channels(channels: NumbaCpu, simd: Simd) -> None:
    """Rows of source channels, which vectors fill in part, lie side by side."""
    counts = range(1, 2 * simd.lanes + 2)
    assert_all_exact(channels, (image(count, 3, 17, 2, 3, 2, padding=(1, 1, 1, 1)) for count in counts), simd)


def test_every_remainder_of_pixels(channels: NumbaCpu, simd: Simd) -> None:
    """Rows are shorter than a vector, as long, or longer; so are planes."""
    widths = range(1, 3 * simd.lanes + 2)
    assert_all_exact(channels, (image(5, 2, width, 3, 2, 1) for width in widths), simd)
    assert_all_exact(channels, (image(2, 1, width, 3, 1, 1, N=2) for width in widths), simd)


SOME = [
    image(5, 9, 11, 7, 3, 3, N=2, stride=(2, 2), padding=(1, 1, 1, 1)),
    image(4, 17, 19, 10, 3, 2, N=2, stride=(1, 3), padding=(0, 2, 5, 0), groups=2),
    image(6, 7, 9, 10, 2, 3, dilation=(3, 2), padding=(2, 3, 0, 5), groups=2),
    image(3, 13, 12, 4, 3, 3, dilation=(6, 6), padding=(6, 6, 6, 6)),
    image(17, 8, 21, 5, 1, 1, N=3, stride=(3, 2)),
    image(2, 3, 40, 33, 1, 7, padding=(4, 4, 9, 9)),
]


@pytest.mark.parametrize("g", SOME, ids=str)
def test_strides_dilations_and_padding(g: ConvGeometry, channels: NumbaCpu, simd: Simd) -> None:
    assert_all_exact(channels, [g], simd)
    assert_same_bits(channels, g, simd.dtype)


def test_blocks(channels: NumbaCpu, simd: Simd) -> None:
    """Long rows of many channels take several blocks of channels; images several blocks of rows, and of panels."""
    deep, many = (
        image(520, 5, 150, 2 * simd.lanes + 3, 3, 3, padding=(1, 1, 1, 1)),
        image(40, 23, 23, 150, 3, 3, padding=(1, 1, 1, 1)),
    )
    for g in (deep, many):
        assert_all_exact(channels, [g], simd)
        assert_same_bits(channels, g, simd.dtype)
    assert cut_of(channels, deep, simd).channels < deep.C
    cut = cut_of(channels, many, simd)
    assert cut.blocks * cut.panel_blocks > 4
    assert cut.blocks > 1


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("g", SOME, ids=str)
def test_special_values_travel_as_in_torch(g: ConvGeometry, value: float, channels: NumbaCpu, simd: Simd) -> None:
    assert_special_values_travel(channels, g, simd, value)


def test_taps_side_by_side_are_one_run() -> None:
    (whole,), _ = jobs("conv2d", image(8, 9, 9, 8, 3, 3))
    assert runs_of(whole.problem) == [(-1, -1, 3, 0), (0, -1, 3, 3), (1, -1, 3, 6)]
    (apart,), _ = jobs("conv2d", image(8, 9, 9, 8, 1, 3, padding=(0, 0, 0, 0), dilation=(1, 2)))
    assert runs_of(apart.problem) == [(0, 0, 1, 0), (0, 2, 1, 1), (0, 4, 1, 2)]


def test_rows_that_take_too_much_memory_are_left_to_others() -> None:
    simd = FORCED[0]
    (job,), _ = jobs("conv2d", image(64, 3, 6000, 8, 3, 3))
    assert channels_tiling(simd, job.problem) is None
