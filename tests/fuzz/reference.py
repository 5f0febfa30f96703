"""What torch makes of a call, in float64 on contiguous copies. No code of fastconv is used."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .calls import Call

Tensor = torch.Tensor
Operands = dict[str, Tensor | None]


def tensors(call: Call, gradients: bool = False) -> Operands:
    """The operands as contiguous float64 tensors; indices as they are."""
    return {name: None if array is None else _tensor(array, gradients) for name, array in call.operands.items()}


def compute(function: str, operands: Operands, arguments: dict[str, Any]) -> tuple[Tensor, ...]:
    """Values, and indices where torch gives some."""
    own = globals().get(f"_{function}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even kernel lengths")
        if own is not None:
            result = own(operands, **arguments)
        elif function.startswith("conv"):
            result = _convolution(function, operands, arguments)
        else:
            result = getattr(F, function)(**operands, **arguments)
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def expected(call: Call) -> tuple[np.ndarray, ...]:
    return tuple(result.numpy() for result in compute(call.function, tensors(call), call.arguments))


def touched(call: Call) -> np.ndarray:
    """Of a max pooling: which windows touch a pixel. Dilated ones may miss the image; torch's index is random there."""
    zeros: Operands = {"input": torch.zeros(call.operands["input"].shape)}
    return compute(call.function, zeros, {**call.arguments, "return_indices": False})[0].numpy() == 0


def _tensor(array: np.ndarray, gradients: bool) -> Tensor:
    floating = array.dtype.kind == "f"
    tensor = torch.from_numpy(np.array(array, np.float64 if floating else np.int64, order="C"))
    return tensor.requires_grad_(gradients and floating)


def _convolution(function: str, operands: Operands, arguments: dict[str, Any]) -> Tensor:
    """torch has no padding of unequal sides: the image gets it first, or a transposed convolution's result loses it."""
    padding = arguments["padding"]
    dims = int(function[-2])
    if isinstance(padding, str) or not isinstance(padding, tuple) or len(padding) != 2 * dims:
        return getattr(F, function)(**operands, **arguments)
    sides = [padding[2 * axis : 2 * axis + 2] for axis in range(dims)]
    rest = {**arguments, "padding": 0}
    if function.startswith("conv_transpose"):
        whole = getattr(F, function)(**operands, **rest)
        ends = zip(sides, whole.shape[-dims:], strict=True)
        return whole[(..., *[slice(before, size - after) for (before, after), size in ends])]
    image = F.pad(operands["input"], [side for pair in reversed(sides) for side in pair])
    return getattr(F, function)(**{**operands, "input": image}, **rest)


def _conv2d_backward(operands: Operands, mask: tuple[bool, ...] = (True, True, True), **how: Any) -> tuple[Tensor, ...]:
    x, w = operands["input"].requires_grad_(), operands["weight"].requires_grad_()
    b = torch.zeros(w.shape[0], dtype=w.dtype, requires_grad=True)
    y = _convolution("conv2d", {"input": x, "weight": w, "bias": b}, how)
    found = torch.autograd.grad(y, (x, w, b), operands["grad_output"], allow_unused=True, materialize_grads=True)
    return tuple(gradient for gradient, wanted in zip(found, mask, strict=True) if wanted)


def _conv2d_input(operands: Operands, input_size: tuple[int, ...], **how: Any) -> tuple[Tensor, ...]:
    x = torch.zeros(input_size, dtype=torch.float64)
    return _conv2d_backward({**operands, "input": x}, (True, False, False), **how)


def _conv2d_weight(operands: Operands, weight_size: tuple[int, ...], **how: Any) -> tuple[Tensor, ...]:
    w = torch.zeros(weight_size, dtype=torch.float64)
    return _conv2d_backward({**operands, "weight": w}, (False, True, False), **how)


def _max_pool2d_backward(operands: Operands, input_size: tuple[int, ...]) -> Tensor:
    """By its definition, one element after another."""
    x = torch.zeros(input_size, dtype=torch.float64)
    planes = x.flatten(-2)
    for (*plane, p, q), grad in np.ndenumerate(operands["grad_output"].numpy()):
        at = int(operands["indices"][*plane, p, q])
        if at >= 0:
            planes[*plane, at] += grad
    return x


def _avg_pool2d_backward(operands: Operands, input_size: tuple[int, ...], **how: Any) -> Tensor:
    x = torch.zeros(input_size, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(F.avg_pool2d(x, **how), x, operands["grad_output"])[0]
