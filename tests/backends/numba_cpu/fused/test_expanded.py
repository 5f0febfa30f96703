"""Depthwise convolutions whose source is made as they need it, around every edge of strips, panels and tiles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastconv.backends.block import Activation, Block
from fastconv.backends.network import Convolved, Outline
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.fused.network.expanded import plan, tiling
from fastconv.backends.numba_cpu.fused.network.plan import NumbaNetwork
from fastconv.backends.numba_cpu.runtime.program import HEAD
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry
from fastconv.threads import get_num_threads
from tests.forced import FORCED, image

Activations = tuple[Activation | None, Activation | None]
"""Those of the expansion and of the depthwise convolution."""


@pytest.fixture(params=FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
def simd(request: pytest.FixtureRequest) -> Simd:
    return request.param


@pytest.fixture(autouse=True, params=[1 << 30, 1], ids=["one strip", "rows alone"])
def strip_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips are as high as the image, or a single row."""
    cost = replace(tiling.COST, expanded_bytes=0, strip_bytes=request.param)
    tiling.strip_tiling.cache_clear()
    for module in (plan, tiling):
        monkeypatch.setattr(module, "COST", cost)


class Depthwise:
    """A planner with a depthwise algorithm for convolutions from single channels, as the only one."""

    algorithm: str | None = None

    def __init__(self, simd: Simd) -> None:
        names = {True: "depthwise", False: None}
        self._backends = {grouped: NumbaCpu("some", simd.instructions, name) for grouped, name in names.items()}

    def plans(self, operation: str, simd: Simd, g: ConvGeometry, *rest: Any, **more: Any) -> Any:
        return self._backends[g.groups > 1].plans(operation, simd, g, *rest, **more)


SHAPES = {
    "stride 1": image(20, 9, 13, 20, 3, 3, N=2, groups=20),
    "stride 2": image(33, 14, 17, 33, 3, 3, N=1, groups=33, stride=(2, 2)),
    "5 x 5": image(7, 11, 40, 7, 5, 5, N=3, groups=7),
    "no padding": image(5, 8, 9, 5, 3, 3, groups=5, padding=(0, 0, 0, 0)),
    "padding alone": image(5, 3, 4, 5, 3, 3, groups=5, padding=(4, 5, 3, 3)),
    "dilated": image(6, 12, 15, 6, 3, 3, groups=6, padding=(2, 2, 2, 2), dilation=(2, 2)),
    "unlike strides": image(9, 10, 12, 9, 3, 3, groups=9, stride=(1, 2)),
}


def _network(
    g: ConvGeometry,
    channels: int,
    activations: tuple[Activation | None, ...],
    simd: Simd,
    results: tuple[int, ...] = (2,),
) -> tuple[NumbaNetwork, list[np.ndarray]]:
    """Return a network that expands images of ``channels`` channels, and an image with its parameters."""
    first = Block(ConvGeometry(g.N, channels, g.H, g.W, g.C, 1, 1), activations[0], None)
    second = Block(g, activations[1], None)
    rng = np.random.default_rng(5)
    sizes = first.geometry.input_shape, first.geometry.weight_shape, (g.C,), g.weight_shape, (g.C,)
    x, *parameters = (rng.normal(size=size).astype(simd.dtype) for size in sizes)
    shapes = first.geometry.input_shape, g.input_shape, g.output_shape
    outline = Outline(shapes, 1, (Convolved(first, 0, 0, 1), Convolved(second, 1, 2, 3)), 4, results)
    return NumbaNetwork(Depthwise(simd), simd, outline, parameters), [x, *parameters]


def _exact(
    g: ConvGeometry, operands: list[np.ndarray], activations: tuple[Activation | None, ...]
) -> list[torch.Tensor]:
    x, w, b, v, c = (torch.from_numpy(each).double() for each in operands)
    top, bottom, left, right = g.padding
    expanded = F.conv2d(x, w, b)
    expanded = expanded if activations[0] is None else getattr(F, activations[0])(expanded)
    sums = F.conv2d(F.pad(expanded, (left, right, top, bottom)), v, c, g.stride, 0, g.dilation, g.groups)
    return [expanded, sums if activations[1] is None else getattr(F, activations[1])(sums)]


def _steps(network: NumbaNetwork) -> int:
    _, _, steps, _ = network._programs[get_num_threads()].code[:HEAD]
    return int(steps)


@pytest.mark.parametrize("activations", [(None, None), ("relu6", "relu6"), ("silu", "hardswish")], ids=str)
@pytest.mark.parametrize("g", SHAPES.values(), ids=SHAPES)
def test_values(g: ConvGeometry, activations: Activations, simd: Simd) -> None:
    network, operands = _network(g, 5, activations, simd)
    found = np.full(g.output_shape, np.nan, simd.dtype)
    assert network.run((operands[0],), (found,))
    assert _steps(network) == 1
    bound = 200 * np.finfo(simd.dtype).eps
    np.testing.assert_allclose(found, _exact(g, operands, activations)[1].numpy(), rtol=bound, atol=bound)


def test_every_remainder_of_pixels_and_channels(simd: Simd) -> None:
    """Rows leave every remainder of a tile's vectors and a vector's lanes, and channels every one of its rows."""
    for width in range(1, 4 * simd.lanes + 2, 3):
        g = image(1 + width % 31, 2, width, 1 + width % 31, 3, 3, N=2, groups=1 + width % 31)
        if g.groups == 1:
            continue
        network, operands = _network(g, 3, ("relu", None), simd)
        found = np.full(g.output_shape, np.nan, simd.dtype)
        assert network.run((operands[0],), (found,))
        bound = 200 * np.finfo(simd.dtype).eps
        np.testing.assert_allclose(found, _exact(g, operands, ("relu", None))[1].numpy(), rtol=bound, atol=bound)


def test_an_expansion_that_is_a_result_is_written(simd: Simd) -> None:
    g = SHAPES["stride 2"]
    network, operands = _network(g, 5, ("relu6", None), simd, results=(1, 2))
    found = [np.full(shape, np.nan, simd.dtype) for shape in (g.input_shape, g.output_shape)]
    assert network.run((operands[0],), found)
    assert _steps(network) > 1
    for mine, right in zip(found, _exact(g, operands, ("relu6", None)), strict=True):
        np.testing.assert_allclose(mine, right.numpy(), rtol=1e-4, atol=1e-4)
