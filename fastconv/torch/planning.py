"""Plans of convolutions on tensors of the CPU's memory; they compute on the tensors' own memory, by plans on arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from fastconv.errors import ArgumentError, ArgumentTypeError
from fastconv.planning import Conv2dPlan, Shape
from fastconv.torch.interface import tensor_interface, words_of
from fastconv.torch.internals import is_undisturbed, is_wrapped
from fastconv.torch.memory import kept_array_of, layout_of
from fastconv.torch.ops import HALVES

Tensor = torch.Tensor


class TensorConv2dPlan(Conv2dPlan):
    """A `Conv2dPlan` for tensors."""

    def __init__(self, plan: Conv2dPlan, dtype: torch.dtype, layout: torch.memory_format) -> None:
        """Take the plan on arrays, the tensors' data type, and the layout of a weight, which results have too."""
        self.input_shape, self.output_shape, self.dtype = plan.input_shape, plan.output_shape, dtype
        self.backend, self._plan, self._layout = plan.backend, plan, layout
        self._of_tensor = _known(plan, dtype) if layout is torch.contiguous_format else None

    def __call__(self, input: Any, *, out: Any = None) -> Any:
        if out is None and self._of_tensor is not None and is_undisturbed():
            found = self._of_tensor(input)
            if found is not NotImplemented:
                return found
        self._check("input", input, self.input_shape)
        array = array_to_compute("input", input)
        if out is None:
            layout = self._layout
            if input.ndim == 4 and layout_of(input) is torch.channels_last:
                layout = torch.channels_last
            return self._finished(torch.from_numpy(self._plan(array)), layout)
        self._check("out", out, self.output_shape)
        if self.dtype in HALVES or out.is_neg():
            out.copy_(torch.from_numpy(self._plan(array)))
        else:
            self._plan(array, out=out.detach().numpy())
            if not out.is_inference():
                torch.autograd.graph.increment_version(out)
        return out

    def _finished(self, result: Tensor, layout: torch.memory_format) -> Tensor:
        result = result.to(self.dtype)
        return result if result.ndim == 3 else result.contiguous(memory_format=layout)

    def _check(self, name: str, tensor: Any, shape: Shape) -> None:
        if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout is not torch.strided or not tensor.is_cpu:
            raise ArgumentTypeError(name, _kind(tensor), "the plan was made for dense torch.Tensor on the CPU")
        if tensor.dtype is not self.dtype:
            raise ArgumentTypeError(name, f"data type {tensor.dtype}", f"the plan was made for {self.dtype}")
        if tensor.shape != shape:
            raise ArgumentError(name, f"shape {tuple(tensor.shape)}", f"the plan was made for {shape}")
        if (tensor.requires_grad and torch.is_grad_enabled()) or is_wrapped(tensor):
            allowed = "plans record no gradients: use conv2d, or a plan under torch.no_grad()"
            raise ArgumentError(name, "a tensor whose gradient may be wanted", allowed)


def _known(plan: Conv2dPlan, dtype: torch.dtype) -> Callable[[Any], Any] | None:
    """Returns a function in compiled code that computes the plan for plain tensors (`Planned.known_of_tensor`)."""
    interface = tensor_interface()
    if interface is None or dtype in HALVES:
        return None
    words = words_of(torch.empty(plan.input_shape, dtype=dtype))
    return plan.planned.known_of_tensor(words, plan.output_shape, interface)


def array_to_compute(name: str, tensor: Tensor) -> np.ndarray:
    """Returns a tensor's elements, without a copy where that is possible; those of half precision as float32."""
    tensor = tensor.detach() if tensor.requires_grad else tensor
    return kept_array_of(name, tensor.float() if tensor.dtype in HALVES else tensor)


def _kind(tensor: Any) -> str:
    return f"{type(tensor).__name__} on {tensor.device}" if isinstance(tensor, Tensor) else type(tensor).__name__
