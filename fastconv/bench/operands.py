"""A problem's operands: standard normal float32 numbers."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv import ConvGeometry
from fastconv.bench.problems import Problem


@dataclass(frozen=True)
class Operands:
    """Input, weight, bias and the result's gradient, as NumPy arrays or as torch's tensors on a device."""

    x: Any
    w: Any
    b: Any
    grad: Any

    def to(self, device: str) -> Operands:
        """The same tensors on another device."""
        return Operands(*(each.to(device) for each in (self.x, self.w, self.b, self.grad)))


def on_cpu(problem: Problem) -> Operands:
    """The operands of a problem as NumPy arrays, the same in every process; a pooling's weight and bias are empty."""
    rng = np.random.default_rng(seed(problem))
    return Operands(*(rng.standard_normal(shape, np.float32) for shape in shapes(problem)))


def shapes(problem: Problem) -> tuple[tuple[int, ...], ...]:
    """The shapes of input, weight, bias and gradient."""
    g = problem.geometry
    weight, bias = (g.weight_shape, (g.K,)) if isinstance(g, ConvGeometry) else ((0,), (0,))
    return g.input_shape, weight, bias, g.output_shape


def seed(problem: Problem) -> int:
    """The seed of a problem's numbers, made from its name."""
    return zlib.crc32(problem.name.encode())
