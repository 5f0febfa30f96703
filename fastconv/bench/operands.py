"""A problem's operands: standard normal numbers, of the problem's data type and in its layout."""

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
    """The operands of a problem, the same in every process; a pooling's weight and bias are empty.

    They are NumPy arrays where NumPy has the data type and the layout, and else torch's tensors.
    """
    rng = np.random.default_rng(seed(problem))
    drawn = [rng.standard_normal(shape, np.float32) for shape in shapes(problem)]
    if problem.dtype in ("float32", "float64") and problem.layout == "contiguous":
        return Operands(*(each.astype(problem.dtype, copy=False) for each in drawn))
    return Operands(*(formed(each, problem) for each in drawn))


def formed(array: Any, problem: Problem) -> Any:
    """An array as torch's tensor in a problem's data type and layout."""
    import torch

    tensor = torch.as_tensor(array)
    layout = torch.channels_last if problem.layout == "channels_last" and tensor.ndim == 4 else torch.contiguous_format
    return tensor.to(getattr(torch, problem.dtype)).contiguous(memory_format=layout)


def shapes(problem: Problem) -> tuple[tuple[int, ...], ...]:
    """The shapes of input, weight, bias and gradient."""
    g = problem.geometry
    weight, bias = (g.weight_shape, (g.K,)) if isinstance(g, ConvGeometry) else ((0,), (0,))
    return g.input_shape, weight, bias, g.output_shape


def seed(problem: Problem) -> int:
    """The seed of a problem's numbers, made from its name."""
    return zlib.crc32(problem.name.encode())
