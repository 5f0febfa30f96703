"""What is right: torch in float64 on the same device, and without cuDNN, which is among those that are judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastconv import ConvGeometry
from fastconv.bench.operands import Operands
from fastconv.bench.problems import Problem

ERRORS = {"float32": 2e-5, "float64": 1e-13, "float16": 2e-3, "bfloat16": 1.6e-2}
"""Allowed, by data type: the root mean square of the error, relative to that of the right result.

Sums of some thousand float32 products lose about 1e-7 times the root of that number, 5e-6; algorithms that trade digits
for speed (Winograd) some times more, and in float64 as much of 2e-16. A wrong element in a thousand already shows as
1e-2. float16 rounded once is wrong by 2e-4 and bfloat16 by 1.7e-3; torch rounds sums of groups some more times.
"""

TF32_ERROR = 2e-3
"""TF32 keeps ten bits of each factor: 2**-11 twice, at random, gives a root mean square of 4e-4."""


def expected(problem: Problem, operation: str, given: Operands) -> list[Tensor]:
    """The right result in float64, by torch's own kernels and its autograd."""
    tensors = (torch.as_tensor(each) for each in (given.x, given.w, given.b))
    x, w, b = (each.double().requires_grad_() for each in tensors)
    g = problem.geometry
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        if isinstance(g, ConvGeometry):
            top, bottom, left, right = g.padding
            y = F.conv2d(F.pad(x, (left, right, top, bottom)), w, b, g.stride, 0, g.dilation, g.groups)
        elif problem.kind == "max":
            y = F.max_pool2d(x, (g.R, g.S), g.stride, g.padding, g.dilation, g.ceil_mode)
        else:
            how = (g.ceil_mode, g.count_include_pad, g.divisor_override)
            y = F.avg_pool2d(x, (g.R, g.S), g.stride, g.padding, *how)
        if operation == "forward":
            return [y.detach()]
        leaves = {"input": [x], "weight": [w], "backward": [x, w, b] if problem.kind == "conv" else [x]}[operation]
        return list(torch.autograd.grad(y, leaves, torch.as_tensor(given.grad).double()))


def allowed(problem: Problem, operation: str, tf32: bool = False) -> float:
    """The root mean square of the error, relative to the right result's, that a result may have.

    A gradient for weights adds up all pixels of all images, millions at large batches: one after another in float32,
    n numbers lose 2**-24 times the root of n / 6, and as much again is allowed.
    """
    if tf32:
        return TF32_ERROR
    g = problem.geometry
    pixels = g.N * g.P * g.Q if operation in ("weight", "backward") and problem.kind == "conv" else 1
    unit = 2**-53 if problem.dtype == "float64" else 2**-24
    return max(ERRORS[problem.dtype], 2 * unit * (pixels / 6) ** 0.5)


def fault(actual: Sequence[Any], right: Sequence[Tensor], most: float) -> str | None:
    """What is wrong with a result, or None: shapes, and the error's root mean square relative to the right result's."""
    if len(actual) != len(right):
        return f"{len(actual)} arrays, {len(right)} expected"
    for given, wanted in zip(actual, right, strict=True):
        # A copy: another library's array may be read-only or run backwards, as no tensor may.
        mine = given if isinstance(given, Tensor) else torch.from_numpy(np.array(given, order="C"))
        if mine.shape != wanted.shape:
            return f"shape {tuple(mine.shape)}, {tuple(wanted.shape)} expected"
        error = float(((mine.double() - wanted).square().mean() / wanted.square().mean()).sqrt())
        if not error <= most:  # so that NaN fails
            return f"relative error {error:.1e}, {most:.0e} allowed"
    return None
