"""Backend `cuda` held to torch's numbers to the bit: small whole numbers, whose sums of products are exact."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numba_cuda.backend import NumbaCuda
from fastconv.geometry import ConvGeometry
from tests import oracle
from tests.forced import how


def numbers(g: ConvGeometry, dtype: str, seed: int = 20) -> tuple[np.ndarray, ...]:
    """x, w, b and grad of a geometry, each element from -4 to 4."""
    rng = np.random.default_rng(seed)
    shapes = g.input_shape, g.weight_shape, (g.K,), g.output_shape
    return tuple(rng.integers(-4, 5, shape).astype(dtype) for shape in shapes)


def assert_exact(backend: NumbaCuda, g: ConvGeometry, dtype: str) -> None:
    """Forward and both gradients."""
    x, w, b, grad = numbers(g, dtype)
    bias: Any = b if g.K % 2 else None
    np.testing.assert_array_equal(backend.conv2d(x, w, bias, g), oracle.conv2d(x, w, bias, how(g)), f"forward {g}")
    for_x, for_w, _ = oracle.conv2d_gradients(x, w, grad, how(g))
    np.testing.assert_array_equal(backend.conv2d_input(grad, w, g), for_x, f"input {g}")
    np.testing.assert_array_equal(backend.conv2d_weight(x, grad, g), for_w, f"weight {g}")
