"""These tests take the depthwise algorithm around every edge of its vectors of columns, its rows and its parts."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends.numba_cpu import planner
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.conv.depthwise.plan import DepthwiseConvolution, DepthwiseWeightGradient
from fastconv.backends.numba_cpu.fused import post_op
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.runtime.program import ProgramBuilder
from fastconv.backends.numba_cpu.simd import Simd, instruction_set
from fastconv.geometry import ConvGeometry
from tests.forced import FORCED, assert_all_exact, assert_same_bits, assert_special_values_travel, image


@pytest.fixture(params=FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
def simd(request: pytest.FixtureRequest) -> Simd:
    return request.param


@pytest.fixture
def depthwise(simd: Simd) -> NumbaCpu:
    return NumbaCpu("forced", simd.instructions, "depthwise")


def test_every_width_around_a_vector(depthwise: NumbaCpu, simd: Simd) -> None:
    widths = sorted({simd.lanes * count + off for count in (1, 2, 3) for off in (-2, -1, 0, 1, 2)} - {0})
    assert_all_exact(depthwise, (image(2, 4, width, 2, 3, 3, groups=2) for width in widths if width > 1), simd)
    assert_all_exact(depthwise, (image(2, 5, 2 * width, 2, 3, 3, groups=2, stride=(2, 2)) for width in widths), simd)


def test_kernels_dilations_and_paddings(depthwise: NumbaCpu, simd: Simd) -> None:
    some = [image(3, 9, 11, 3, R, S, groups=3) for R, S in ((1, 1), (1, 5), (5, 1), (2, 3), (4, 4), (5, 5))]
    some += [image(2, 9, 11, 2, 3, 3, groups=2, dilation=pair) for pair in ((2, 2), (1, 4), (3, 1))]
    some += [image(2, 7, 9, 2, 3, 3, groups=2, padding=sides) for sides in ((0, 0, 0, 0), (4, 3, 5, 4), (0, 2, 3, 0))]
    some += [image(2, 9, 40, 2, 3, 3, groups=2, stride=pair) for pair in ((2, 1), (3, 2), (1, 2))]
    some += [image(2, 17, 20, 2, 5, 5, groups=2, stride=pair) for pair in ((2, 2), (3, 1), (4, 2))]
    some += [image(2, 17, 20, 2, R, 3, groups=2, stride=(2, 1)) for R in (2, 4, 7)]
    assert_all_exact(depthwise, some, simd)


def test_rows_that_are_read_again(depthwise: NumbaCpu, simd: Simd) -> None:
    """The next lattice row reads the same source rows but one, some of them, or none, by strides and dilations."""
    steps = [((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 1)), ((2, 1), (2, 2)), ((4, 1), (2, 1)), ((3, 2), (2, 1))]
    some = [image(2, 23, 9, 2, R, 3, groups=2, stride=by, dilation=apart) for R in (1, 2, 5) for by, apart in steps]
    assert_all_exact(depthwise, some, simd)


def test_multipliers_and_first_layers(depthwise: NumbaCpu, simd: Simd) -> None:
    some = [image(3, 8, 9, 3 * count, 3, 3, N=2, groups=3) for count in (1, 2, 3)]
    assert_all_exact(depthwise, [*some, image(1, 28, 28, 6, 5, 5, N=2), image(1, 13, 37, 1, 3, 3, N=5)], simd)


def test_planes_rows_and_images_in_parts(depthwise: NumbaCpu, simd: Simd) -> None:
    """The work is cut into tasks of many planes, into blocks of rows of a large plane, and into parts of the batch."""
    large = image(1, 300, 260, 1, 3, 3)
    some = [image(40, 6, 7, 40, 3, 3, N=3, groups=40), large, image(1, 60, 64, 1, 3, 3, N=9)]
    # A task reads one plane of these in three blocks of rows.
    some += [image(18, 131, 300 * 4 // simd.itemsize, 18, 3, 3, groups=18)]
    assert_all_exact(depthwise, some, simd)
    parts = {}
    for operation in ("conv2d", "conv2d_weight"):
        parts[operation] = depthwise._plans(operation, np.dtype(simd.dtype), large)[0][0].cut
    assert parts["conv2d"].blocks > 1
    assert parts["conv2d_weight"].splits > 1


def test_it_runs_where_it_is_asked_for_and_only_there(depthwise: NumbaCpu, simd: Simd) -> None:
    g = image(4, 9, 9, 4, 3, 3, groups=4)
    kinds = {type(depthwise._plans(each, np.dtype(simd.dtype), g)[0][0]) for each in ("conv2d", "conv2d_input")}
    assert kinds == {DepthwiseConvolution}
    (gradient,), _, _ = depthwise._plans("conv2d_weight", np.dtype(simd.dtype), g)
    assert type(gradient) is DepthwiseWeightGradient
    others = [image(4, 9, 9, 4, 3, 3, groups=2), image(2, 9, 9, 2, 7, 7, groups=2)]
    for other in [*others, image(2, 9, 9, 2, 3, 3, groups=2, stride=(1, 3))]:
        assert "one channel" in str(depthwise.refuses("conv2d", other, simd.dtype))
    strided = image(2, 9, 9, 2, 3, 3, groups=2, stride=(3, 2))
    assert depthwise.refuses("conv2d", strided, simd.dtype) is None
    assert depthwise.refuses("conv2d_input", strided, simd.dtype) is None


SHAPES = [
    image(64, 30, 30, 64, 3, 3, N=3, groups=64),
    image(1, 200, 200, 1, 5, 5, N=2),
    image(8, 56, 56, 16, 3, 3, N=2, groups=8),
]


@pytest.mark.parametrize("g", SHAPES, ids=str)
def test_same_bits_for_any_number_of_threads(g: ConvGeometry, dtype: str) -> None:
    assert_same_bits(NumbaCpu("forced", algorithm="depthwise"), g, dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("padding", [(1, 1, 1, 1), (0, 0, 0, 0), (0, 2, 3, 1)])
def test_special_values_travel_as_in_torch(
    value: float, padding: tuple[int, ...], depthwise: NumbaCpu, simd: Simd
) -> None:
    assert_special_values_travel(depthwise, image(3, 6, 7, 3, 3, 3, N=2, groups=3, padding=padding), simd, value)


def test_it_is_the_planners_choice_for_depthwise() -> None:
    simd = Simd(instruction_set.AVX512, "float32")
    taps = tuple((r - 1, s - 1, 3 * r + s) for r in range(3) for s in range(3))
    for weight in (False, True):
        best = planner.choose(simd, Problem(8, 64, 1, 1, (28, 28), (28, 28), (1, 1), taps), None, weight=weight)
        assert best is not None
        assert best.algorithm == "depthwise"


@pytest.mark.parametrize(
    "g",
    [
        image(40, 7, 7, 40, 5, 5, N=2, groups=40),
        image(2, 400, 203, 2, 3, 3, groups=2),
        image(3, 31, 33, 3, 3, 3, groups=3, stride=(2, 2)),
        image(2, 9, 17, 4, 3, 3, N=3, groups=2, padding=(0, 0, 0, 0)),
    ],
    ids=["small planes", "rows of planes", "stride", "two filters a channel"],
)
def test_an_activation_has_the_bits_of_a_pass_of_its_own(g: ConvGeometry, simd: Simd, depthwise: NumbaCpu) -> None:
    rng = np.random.default_rng(3)
    x, w, b = (rng.normal(size=size).astype(simd.dtype) for size in (g.input_shape, g.weight_shape, (g.K,)))
    (plan,), _, _ = depthwise.plans("conv2d", simd, g)
    activated = plan.activated(lambda: post_op.in_place(simd, "silu"))
    assert isinstance(activated, DepthwiseConvolution)
    assert (plan.cut.blocks > 1) == (g.H == 400)
    expected, found = np.empty(g.output_shape, simd.dtype), np.full((*g.output_shape[:3], g.Q), 7.0, simd.dtype)
    program = ProgramBuilder()
    places = [program.operand() for _ in range(4)]
    plan.record(program, *places)
    post_op.record_forward(program, simd, "silu", places[3], places[3], expected.size)
    assert program.finish().run((x, w, b, expected))
    assert activated.run(x, w, b, found)
    assert found.tobytes() == expected.tobytes()
    assert plan.run(x, w, b, found)
    assert found.tobytes() != expected.tobytes()
