"""torch, on any device: its functions and the operators of its own backward pass, which ask for no gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from fastconv import ConvGeometry
from fastconv.bench.contestants import Call
from fastconv.bench.operands import Operands
from fastconv.bench.problems import Problem

_MASKS = {"backward": (True, True, True), "input": (True, False, False), "weight": (False, True, False)}


class Torch:
    """Tensors in one memory format."""

    def __init__(self, layout: torch.memory_format) -> None:
        self.layout = layout

    def prepare(self, problem: Problem, operation: str, arrays: Operands) -> Call:
        g = problem.geometry
        x, grad = self._tensor(arrays.x), self._tensor(arrays.grad)
        if isinstance(g, ConvGeometry):
            w, b = self._tensor(arrays.w), torch.as_tensor(arrays.b)
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

    def arrays(self, result: Any) -> tuple[Any, ...]:
        parts = result if isinstance(result, tuple) else (result,)
        return tuple(part if part.is_cuda else part.numpy() for part in parts if part is not None)

    def _tensor(self, array: Any) -> torch.Tensor:
        return torch.as_tensor(array).contiguous(memory_format=self.layout)


def make(variant: str, threads: int) -> Torch:
    """torch on ``threads`` threads; ``variant`` names a memory format."""
    torch.set_num_threads(threads)
    return Torch(torch.channels_last if variant == "channels_last" else torch.contiguous_format)
