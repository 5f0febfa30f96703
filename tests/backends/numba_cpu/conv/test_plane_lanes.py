"""These tests take the algorithm with small planes in the lanes around every edge of its vectors, rows and tasks."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends.numba_cpu import planner
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.conv.plane_lanes.plan import PlaneLanesConvolution
from fastconv.backends.numba_cpu.fused import post_op
from fastconv.backends.numba_cpu.lowering import jobs
from fastconv.backends.numba_cpu.runtime.program import ProgramBuilder
from fastconv.backends.numba_cpu.simd import Simd, instruction_set
from fastconv.geometry import ConvGeometry
from tests.forced import FORCED, assert_all_exact, assert_same_bits, assert_special_values_travel, image


@pytest.fixture(params=FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
def simd(request: pytest.FixtureRequest) -> Simd:
    return request.param


@pytest.fixture
def planes(simd: Simd) -> NumbaCpu:
    return NumbaCpu("forced", simd.instructions, "planes")


def small(simd: Simd, C: int, H: int, W: int, R: int, S: int, **rest: object) -> ConvGeometry:
    """A depthwise convolution of at least as many channels, and pixels, as the algorithm needs."""
    return image(
        max(C, simd.lanes), max(H, -(-simd.lanes // W)), W, max(C, simd.lanes), R, S, groups=max(C, simd.lanes), **rest
    )


def test_every_remainder_of_channels_and_pixels(planes: NumbaCpu, simd: Simd) -> None:
    """The last vector of planes, and of pixels, overlaps the one before."""
    half = simd.lanes // 2
    some = [small(simd, C, 3, half, 3, 3, N=2) for C in range(simd.lanes, 3 * simd.lanes, 3)]
    some += [small(simd, 1, H, W, 3, 3) for W in range(1, half + 1) for H in (W, 2 * W + 1)]
    assert_all_exact(planes, some, simd)


@pytest.mark.parametrize("simd", [each for each in FORCED if each.lanes > 2], ids=str)
def test_kernels_strides_dilations_and_paddings(simd: Simd) -> None:
    """With two lanes, rows have one pixel, which only one column of taps meets."""
    planes = NumbaCpu("forced", simd.instructions, "planes")
    wide = simd.lanes // 2
    some = [small(simd, 3, 9, wide, R, S) for R, S in ((2, 1), (1, 5), (5, 1), (2, 3), (5, 5), (7, 7))]
    some += [small(simd, 3, 9, wide, 3, 3, dilation=(a, b), padding=(a, a, b, b)) for a, b in ((2, 2), (1, 4), (3, 1))]
    some += [small(simd, 3, 7, wide, 3, 3, padding=sides) for sides in ((4, 3, 2, 0), (0, 2, 1, 1), (9, 9, 0, 2))]
    some += [small(simd, 3, 17, 2 * wide - 1, 3, 3, stride=pair) for pair in ((2, 2), (1, 2), (3, 4))]
    assert_all_exact(planes, some, simd)


def test_images_and_planes_in_parts(planes: NumbaCpu, simd: Simd) -> None:
    """Few planes are cut into tasks of some images, and many into tasks of several vectors."""
    width = simd.lanes // 2
    few, many = small(simd, 1, 4, width, 3, 3, N=37), small(simd, 40 * simd.lanes + 1, 4, width, 3, 3, N=3)
    assert_all_exact(planes, [few, many], simd)
    cuts = [planes._plans("conv2d", np.dtype(simd.dtype), g)[0][0].cut for g in (few, many)]
    assert cuts[0].blocks > 1
    assert cuts[1].planes > simd.lanes
    assert cuts[1].parts > 1


def test_it_runs_where_it_is_asked_for_and_only_there(planes: NumbaCpu, simd: Simd) -> None:
    lanes, dtype = simd.lanes, np.dtype(simd.dtype)
    g = small(simd, lanes, lanes, lanes // 2, 3, 3)
    kinds = {type(planes._plans(each, dtype, g)[0][0]) for each in ("conv2d", "conv2d_input")}
    assert kinds == {PlaneLanesConvolution}
    wide, few = image(lanes, 9, lanes // 2 + 1, lanes, 3, 3, groups=lanes), image(lanes - 1, 9, 2, lanes - 1, 3, 3)
    double, shallow = image(lanes, 9, 2, 2 * lanes, 3, 3, groups=lanes), image(lanes, 1, 1, lanes, 1, 1, groups=lanes)
    for other in (wide, few, double, shallow):
        assert "one channel to a group" in str(planes.refuses("conv2d", other, simd.dtype))


SHAPES = [
    image(40, 7, 7, 40, 5, 5, N=5, groups=40),
    image(33, 13, 13, 33, 3, 3, N=2, groups=33, stride=(2, 2)),
    image(300, 6, 7, 300, 3, 3, groups=300),
]


@pytest.mark.parametrize("g", SHAPES, ids=str)
def test_same_bits_for_any_number_of_threads(g: ConvGeometry) -> None:
    assert_same_bits(NumbaCpu("forced", instruction_set.AVX512, "planes"), g, "float32")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("padding", [(1, 1, 1, 1), (0, 0, 0, 0), (0, 2, 2, 0)])
@pytest.mark.parametrize("simd", [each for each in FORCED if each.lanes >= 8], ids=str)
def test_special_values_travel_as_in_torch(value: float, padding: tuple[int, ...], simd: Simd) -> None:
    planes = NumbaCpu("forced", simd.instructions, "planes")
    g = small(simd, simd.lanes + 1, 6, simd.lanes // 2, 3, 3, N=2, padding=padding)
    assert_special_values_travel(planes, g, simd, value)


def test_the_planner_takes_it_for_rows_of_seven_pixels() -> None:
    simd = Simd(instruction_set.AVX512, "float32")
    shapes = {True: image(576, 7, 7, 576, 5, 5, groups=576), False: image(672, 14, 14, 672, 5, 5, groups=672)}
    for wanted, g in shapes.items():
        (job,), _ = jobs("conv2d", g)
        best = planner.choose(simd, job.problem, None)
        assert best is not None
        assert (best.algorithm == "planes") == wanted


@pytest.mark.parametrize("g", SHAPES, ids=str)
def test_an_activation_has_the_bits_of_a_pass_of_its_own(g: ConvGeometry) -> None:
    simd, rng = Simd(instruction_set.AVX512, "float32"), np.random.default_rng(3)
    x, w, b = (rng.normal(size=size).astype(simd.dtype) for size in (g.input_shape, g.weight_shape, (g.K,)))
    (plan,), _, _ = NumbaCpu("forced", simd.instructions, "planes").plans("conv2d", simd, g)
    activated = plan.activated(lambda: post_op.in_place(simd, "silu"))
    assert isinstance(activated, PlaneLanesConvolution)
    expected, found = (np.full(g.output_shape, np.nan, simd.dtype) for _ in range(2))
    program = ProgramBuilder()
    places = [program.operand() for _ in range(4)]
    plan.record(program, *places)
    post_op.record_forward(program, simd, "silu", places[3], places[3], expected.size)
    assert program.finish().run((x, w, b, expected))
    assert activated.run(x, w, b, found)
    assert found.tobytes() == expected.tobytes()


def test_channels_of_a_concatenation() -> None:
    """Results are some channels of larger images; the others stay as they are."""
    simd, rng, g = Simd(instruction_set.AVX512, "float32"), np.random.default_rng(5), SHAPES[0]
    x, w, b = (rng.normal(size=size).astype(simd.dtype) for size in (g.input_shape, g.weight_shape, (g.K,)))
    (plan,), _, _ = NumbaCpu("forced", simd.instructions, "planes").plans("conv2d", simd, g)
    expected = np.empty(g.output_shape, simd.dtype)
    assert plan.run(x, w, b, expected)
    among = plan.among(g.K + 9)
    assert among is not None
    images = np.full((g.N, g.K + 9, g.P, g.Q), np.nan, simd.dtype)
    program = ProgramBuilder()
    places = [program.operand() for _ in range(4)]
    among.record(program, *places[:3], places[3] + 4 * g.P * g.Q * simd.itemsize)
    assert program.finish().run((x, w, b, images))
    assert images[:, 4 : 4 + g.K].tobytes() == expected.tobytes()
    assert np.isnan(images[:, :4]).all()
    assert np.isnan(images[:, 4 + g.K :]).all()
