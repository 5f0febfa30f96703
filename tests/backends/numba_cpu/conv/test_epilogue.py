"""What follows a convolution while its results are in registers or in a core's cache: a residual, an activation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastconv.backends.block import Block
from fastconv.backends.network import Convolved, Outline
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.conv.phases.plan import PhasedConvolution
from fastconv.backends.numba_cpu.conv.plan import Convolution
from fastconv.backends.numba_cpu.fused import post_op
from fastconv.backends.numba_cpu.fused.network.plan import NumbaNetwork
from fastconv.backends.numba_cpu.runtime.program import ProgramBuilder
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry
from tests.forced import FORCED, image

SHAPES = {
    "images in place": image(5, 6, 7, 9, 1, 1, N=2),
    "groups": image(6, 4, 5, 9, 1, 1, N=3, groups=3),
    "a column alone": image(33, 7, 7, 20, 1, 1),
    "blocks of columns and rows": image(24, 40, 41, 70, 1, 1),
    "gathered": image(9, 15, 14, 20, 3, 3, stride=(2, 2)),
    "gathered from several images": image(9, 15, 14, 20, 3, 3, N=3, stride=(2, 2)),
}
"""Convolutions whose sums are computed in one piece, so that a residual is added last."""

LONG = {
    "in pieces": image(1300, 5, 6, 7, 1, 1, N=2),
    "gathered in pieces": image(150, 6, 7, 20, 3, 3, N=3),
}


@pytest.fixture(params=FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
def simd(request: pytest.FixtureRequest) -> Simd:
    return request.param


@pytest.fixture(params=["matrix", "gemm"])
def numba(request: pytest.FixtureRequest, simd: Simd) -> NumbaCpu:
    """A backend with one algorithm."""
    return NumbaCpu("forced", simd.instructions, request.param)


def _plan(numba: NumbaCpu, operation: str, g: ConvGeometry, simd: Simd) -> Convolution:
    found = numba.plans(operation, simd, g)[0][0]
    assert isinstance(found, Convolution)
    return found


def _silu(simd: Simd) -> Callable[[], int]:
    return lambda: post_op.in_place(simd, "silu")


def _operands(g: ConvGeometry, simd: Simd) -> list[np.ndarray]:
    """Return x, w, b and a residual."""
    rng = np.random.default_rng(3)
    sizes = g.input_shape, g.weight_shape, (g.K,), g.output_shape
    return [rng.normal(size=size).astype(simd.dtype) for size in sizes]


@pytest.mark.parametrize("g", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("added", [False, True], ids=["", "residual"])
def test_it_has_the_bits_of_a_pass_of_its_own(g: ConvGeometry, added: bool, simd: Simd, numba: NumbaCpu) -> None:
    x, w, b, residual = _operands(g, simd)
    residual.flat[7] = np.nan
    before = _plan(numba, "conv2d", g, simd)
    ready = before.adding() if added else before
    assert ready is not None
    activated = ready.activated(_silu(simd))
    assert activated is not None
    expected, found = np.empty(g.output_shape, simd.dtype), np.full(g.output_shape, 7.0, simd.dtype)
    program = ProgramBuilder()
    *places, there = [program.operand() for _ in range(5)]
    before.record(program, *places)
    after = there if added else None
    post_op.record_forward(program, simd, "silu", places[3], places[3], expected.size, residual=after)
    assert program.finish().run((x, w, b, expected, residual))
    assert activated.execute(x, w, b, found, *[residual] * added)
    assert found.tobytes() == expected.tobytes()
    assert np.isnan(found).sum() == added
    assert before.run(x, w, b, found)
    assert found.tobytes() != expected.tobytes()


@pytest.mark.parametrize("g", [*SHAPES.values(), *LONG.values()], ids=[*SHAPES, *LONG])
def test_a_residual_is_added_before_the_limits(g: ConvGeometry, simd: Simd, numba: NumbaCpu) -> None:
    x, w, b, residual = _operands(g, simd)
    (limited,), _, _ = numba.plans("conv2d", simd, g, (0.0, 6.0))
    adding = limited.adding()
    found = np.full(g.output_shape, np.nan, simd.dtype)
    assert adding.execute(x, w, b, found, residual)
    exact = [torch.from_numpy(each).double() for each in (x, w, b, residual)]
    top, bottom, left, right = g.padding
    sums = F.conv2d(F.pad(exact[0], (left, right, top, bottom)), exact[1], exact[2], g.stride, 0, g.dilation, g.groups)
    terms = g.C // g.groups * g.R * g.S
    bound = 8 * np.finfo(simd.dtype).eps * terms
    np.testing.assert_allclose(found, F.relu6(sums + exact[3]).numpy(), rtol=0, atol=bound)


def test_results_apart_take_a_pass_of_their_own(simd: Simd, numba: NumbaCpu) -> None:
    lattice = _plan(numba, "conv2d_input", image(4, 9, 9, 5, 3, 3, stride=(2, 2)), simd)
    assert lattice.activated(_silu(simd)) is None


@pytest.mark.parametrize("residual", [False, True], ids=["", "residual"])
def test_convolutions_by_phases_take_a_pass_of_their_own(residual: bool, simd: Simd) -> None:
    block = Block(image(16, 30, 31, 20, 3, 3, padding=(2, 2, 2, 2), dilation=(2, 2)), "silu", None, residual=residual)
    numba = NumbaCpu("whole", simd.instructions, "winograd(2x2)")
    (phased,), _, _ = numba.plans("conv2d", simd, block.geometry)
    assert isinstance(phased, PhasedConvolution)
    x, w, b, more = _operands(block.geometry, simd)
    shape, given = block.result_shape, 1 + residual
    convolved = Convolved(block, 0, 0, 1, 1 if residual else None)
    outline = Outline((x.shape, *[shape] * given), given, (convolved,), 2, (given,))
    found = np.full(shape, np.nan, simd.dtype)
    assert NumbaNetwork(numba, simd, outline, (w, b)).run((x, *[more] * residual), (found,))
    exact = [torch.from_numpy(each).double() for each in (x, w, b, more)]
    sums = F.conv2d(*exact[:3], padding=2, dilation=2)
    expected = F.silu(sums + exact[3] if residual else sums).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=16 * 9 * 8 * np.finfo(simd.dtype).eps)
