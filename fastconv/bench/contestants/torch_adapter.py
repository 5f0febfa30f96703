"""torch, on any device: its functions and the operators of its own backward pass, which ask for no gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from fastconv import ConvGeometry
from fastconv.bench.contestants import Call, NotOfferedError, as_numpy
from fastconv.bench.operands import Operands
from fastconv.bench.problems import Problem

_MASKS = {"backward": (True, True, True), "input": (True, False, False), "weight": (False, True, False)}


class Torch:
    """Tensors in the problem's layout, or in torch's channels_last."""

    def __init__(self, channels_last: bool) -> None:
        self.channels_last = channels_last

    def prepare(self, problem: Problem, operation: str, arrays: Operands) -> Call:
        if self.channels_last and problem.layout == "channels_last":
            raise NotOfferedError("the problem has this layout, and torch takes it as it is")
        g = problem.geometry
        x, grad = self._tensor(arrays.x), self._tensor(arrays.grad)
        if isinstance(g, ConvGeometry):
            return _convolution(g, operation, x, self._tensor(arrays.w), torch.as_tensor(arrays.b), grad)
        pool = ((g.R, g.S), g.stride, g.padding)
        if problem.kind == "avg":
            how = (g.ceil_mode, g.count_include_pad, g.divisor_override)
            if operation == "forward":
                return lambda: F.avg_pool2d(x, *pool, *how)
            return lambda: torch.ops.aten.avg_pool2d_backward(grad, x, *pool, *how)
        whole = (*pool, g.dilation, g.ceil_mode)
        if operation == "forward":
            return lambda: F.max_pool2d(x, *whole)
        indices = F.max_pool2d(x, *whole, return_indices=True)[1]
        return lambda: torch.ops.aten.max_pool2d_with_indices_backward(grad, x, *whole, indices)

    def arrays(self, result: Any) -> tuple[Any, ...]:
        return as_numpy(result)

    def _tensor(self, array: Any) -> torch.Tensor:
        tensor = torch.as_tensor(array)
        return tensor.contiguous(memory_format=torch.channels_last) if self.channels_last else tensor


def _convolution(
    g: ConvGeometry, operation: str, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, grad: torch.Tensor
) -> Call:
    top, bottom, left, right = g.padding
    backward = torch.ops.aten.convolution_backward
    if (top, left) == (bottom, right):
        how = (g.stride, (top, left), g.dilation)
        rest = (False, (0, 0), g.groups, _MASKS.get(operation))
        if operation == "forward":
            return lambda: F.conv2d(x, w, b, *how, g.groups)
        return lambda: backward(grad, x, w, [g.K], *how, *rest)
    # torch has no padding of four sides: it pads apart, and cuts the input gradient.
    sides, how = (left, right, top, bottom), (g.stride, (0, 0), g.dilation)
    if operation == "forward":
        return lambda: F.conv2d(F.pad(x, sides), w, b, *how, g.groups)

    def gradients() -> Any:
        found = backward(grad, F.pad(x, sides), w, [g.K], *how, False, (0, 0), g.groups, _MASKS[operation])
        inner = None if found[0] is None else found[0][:, :, top : top + g.H, left : left + g.W]
        return inner, *found[1:]

    return gradients


def make(variant: str, threads: int) -> Torch:
    """torch on ``threads`` threads; ``variant`` is "channels_last", or "" for the problem's layout."""
    torch.set_num_threads(threads)
    return Torch(variant == "channels_last")
