"""A problem's operands on a device, and what torch and fastconv are asked to do with them.

Calls record no gradients; whoever makes them sees to that (`torch.no_grad`), since switching it costs a microsecond.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import fastconv.torch.functional as fastconv
from bench.problems import Problem
from fastconv import ConvGeometry

Call = Callable[[], Any]

_MASKS = {"backward": (True, True, True), "input": (True, False, False), "weight": (False, True, False)}


@dataclass(frozen=True)
class Operands:
    """Standard normal float32 tensors: input, weight, bias and the result's gradient."""

    x: Tensor
    w: Tensor
    b: Tensor
    grad: Tensor

    def to(self, device: str) -> Operands:
        """The same on another device."""
        return Operands(*(each.to(device) for each in (self.x, self.w, self.b, self.grad)))


def operands(problem: Problem, device: str) -> Operands:
    """The tensors of a problem, the same in every run; a pooling has an empty weight and bias."""
    g = problem.geometry
    generator = torch.Generator(device).manual_seed(zlib.crc32(problem.name.encode()))
    weight, bias = (g.weight_shape, (g.K,)) if isinstance(g, ConvGeometry) else ((0,), (0,))
    shapes = (g.input_shape, weight, bias, g.output_shape)
    return Operands(*(torch.randn(shape, generator=generator, device=device) for shape in shapes))


def torch_call(problem: Problem, operation: str, given: Operands) -> Call:
    """torch's own function, or the operator of its backward pass."""
    g, x, w, b, grad = problem.geometry, given.x, given.w, given.b, given.grad
    if isinstance(g, ConvGeometry):
        how = (g.stride, (g.padding[0], g.padding[2]), g.dilation)
        if operation == "forward":
            return lambda: F.conv2d(x, w, b, *how, g.groups)
        rest = (False, (0, 0), g.groups, _MASKS[operation])
        return lambda: torch.ops.aten.convolution_backward(grad, x, w, [g.K], *how, *rest)
    pool = ((g.R, g.S), g.stride, g.padding)
    if problem.kind == "avg":
        if operation == "forward":
            return lambda: F.avg_pool2d(x, *pool)
        return lambda: torch.ops.aten.avg_pool2d_backward(grad, x, *pool, False, True, None)
    if operation == "forward":
        return lambda: F.max_pool2d(x, *pool)
    indices = F.max_pool2d(x, *pool, return_indices=True)[1]
    return lambda: torch.ops.aten.max_pool2d_with_indices_backward(grad, x, *pool, g.dilation, g.ceil_mode, indices)


def fastconv_call(problem: Problem, operation: str, given: Operands, backend: str) -> Call:
    """fastconv's function on tensors, or the operator of its backward pass."""
    g, x, w, b, grad = problem.geometry, given.x, given.w, given.b, given.grad
    if isinstance(g, ConvGeometry):
        how = (g.stride, g.padding, g.dilation, g.groups)
        return {
            "forward": lambda: fastconv.conv2d(x, w, b, *how, backend=backend),
            "backward": lambda: fastconv.conv2d_backward(grad, x, w, *how, backend=backend),
            "input": lambda: fastconv.conv2d_input(x.shape, w, grad, *how, backend=backend),
            "weight": lambda: fastconv.conv2d_weight(x, w.shape, grad, *how, backend=backend),
        }[operation]
    pool = ((g.R, g.S), g.stride, g.padding)
    if problem.kind == "avg":
        return {
            "forward": lambda: fastconv.avg_pool2d(x, *pool, backend=backend),
            "backward": lambda: fastconv.avg_pool2d_backward(grad, x.shape, *pool, backend=backend),
        }[operation]
    if operation == "forward":
        return lambda: fastconv.max_pool2d(x, *pool, backend=backend)
    indices = fastconv.max_pool2d(x, *pool, return_indices=True, backend=backend)[1]
    whole = (*pool, g.dilation, g.ceil_mode, backend)
    return lambda: torch.ops.fastconv.max_pool2d_gradient(grad, indices, x.shape, *whole)


def parts(result: Any) -> list[Tensor]:
    """What a call gave, in the order of `bench.gpu.truth.expected`."""
    found = result if isinstance(result, tuple) else (result,)
    return [each for each in found if each is not None]
