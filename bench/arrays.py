"""A problem's operands, and what is right: torch in float64."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.problems import Problem
from fastconv import ConvGeometry

Array = np.ndarray
Result = tuple[Array, ...]

ERROR = 2e-5
"""Allowed for float32: the root mean square of the error, relative to that of the right result.

Sums of some thousand products lose about 1e-7 times the root of that number, 5e-6; algorithms that trade digits for
speed (Winograd) some times more. A wrong element in a thousand already shows as 1e-2.
"""


@dataclass(frozen=True)
class Operands:
    """Standard normal float32 arrays, the same in every process: input, weight, bias and the result's gradient."""

    x: Array
    w: Array
    b: Array
    grad: Array


def operands(problem: Problem) -> Operands:
    """The arrays of a problem; a pooling has an empty weight and bias."""
    g = problem.geometry
    rng = np.random.default_rng(zlib.crc32(problem.name.encode()))
    weight, bias = (g.weight_shape, (g.K,)) if isinstance(g, ConvGeometry) else ((0,), (0,))
    shapes = (g.input_shape, weight, bias, g.output_shape)
    return Operands(*(rng.standard_normal(shape, np.float32) for shape in shapes))


def expected(problem: Problem, operation: str, arrays: Operands) -> Result:
    """The right result in float64, by torch and its autograd."""
    import torch
    import torch.nn.functional as F

    x, w, b = (torch.from_numpy(a).double().requires_grad_() for a in (arrays.x, arrays.w, arrays.b))
    g = problem.geometry
    if isinstance(g, ConvGeometry):
        y = F.conv2d(x, w, b, g.stride, (g.padding[0], g.padding[2]), g.dilation, g.groups)
    else:
        pool = F.max_pool2d if problem.kind == "max" else F.avg_pool2d
        y = pool(x, (g.R, g.S), g.stride, g.padding)
    if operation == "forward":
        return (y.detach().numpy(),)
    leaves = {"input": [x], "weight": [w], "backward": [x, w, b] if problem.kind == "conv" else [x]}[operation]
    found = torch.autograd.grad(y, leaves, torch.from_numpy(arrays.grad).double())
    return tuple(gradient.numpy() for gradient in found)


def fault(actual: Any, right: Result) -> str | None:
    """What is wrong with a result, or None: shapes, and the error's root mean square relative to the right result's."""
    if len(actual) != len(right):
        return f"{len(actual)} arrays, {len(right)} expected"
    for mine, wanted in zip(actual, right, strict=True):
        if mine.shape != wanted.shape:
            return f"shape {mine.shape}, {wanted.shape} expected"
        error = float(np.sqrt(np.mean(np.square(mine - wanted)) / np.mean(np.square(wanted))))
        if not error <= ERROR:  # so that NaN fails
            return f"relative error {error:.1e}, {ERROR:.0e} allowed"
    return None
