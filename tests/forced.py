"""The backend `numba` made to use one instruction set and one algorithm, against torch to the bit.

Elements are small whole numbers, so sums of their products, and the halves that Winograd's transforms make of them, are
exact in float32 too: results must equal torch's in float64, and no wrong element can hide in a tolerance.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastconv.backends.numba_cpu import instruction_set
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry
from tests import oracle

FORCED = [Simd(row, "float32") for row in instruction_set.ALL.values()]
FORCED += [Simd(row, "float64") for row in (instruction_set.AVX512, instruction_set.NEON)]
"""All instruction sets, and with float64 all numbers of lanes: to compile for one takes some ten seconds, once."""


def how(g: ConvGeometry) -> dict[str, Any]:
    """The parameters by which torch is asked for the convolution of a geometry."""
    return {"stride": g.stride, "padding": g.padding, "dilation": g.dilation, "groups": g.groups}


def image(C: int, H: int, W: int, K: int, R: int, S: int, N: int = 1, **rest: Any) -> ConvGeometry:
    """A geometry with as much padding as keeps the size, unless told otherwise."""
    padding = rest.pop("padding", ((R - 1) // 2, R // 2, (S - 1) // 2, S // 2))
    return ConvGeometry(N, C, H, W, K, R, S, rest.pop("stride", (1, 1)), padding, **rest)


def assert_all_exact(numba: NumbaCpu, geometries: Iterable[ConvGeometry], simd: Simd) -> None:
    """Forward and, as far as the algorithm does them, both adjoints give torch's numbers."""
    for g in geometries:
        rng = np.random.default_rng(g.K + 1000 * g.W)
        shapes = g.input_shape, g.weight_shape, g.output_shape, (g.K,)
        x, w, grad, b = (rng.integers(-4, 5, shape).astype(simd.dtype) for shape in shapes)
        bias = b if g.K % 2 else None
        np.testing.assert_array_equal(numba.conv2d(x, w, bias, g), oracle.conv2d(x, w, bias, how(g)), f"forward {g}")
        for_x, for_w, _ = oracle.conv2d_gradients(x, w, grad, how(g))
        if not numba.refuses("conv2d_input", g, simd.dtype):
            np.testing.assert_array_equal(numba.conv2d_input(grad, w, g), for_x, f"input {g}")
        if not numba.refuses("conv2d_weight", g, simd.dtype):
            np.testing.assert_array_equal(numba.conv2d_weight(x, grad, g), for_w, f"weight {g}")
