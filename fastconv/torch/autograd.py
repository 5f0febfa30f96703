"""Gradients of the operators, as `torch.autograd.Function`s that call one another: so any order of them exists.

Convolution and its two adjoints are the three partial derivatives of one trilinear form,

    <grad, conv2d(x, w)> = <conv2d_input(grad, w), x> = <conv2d_weight(x, grad), w>,

so the gradient of each is made of the other two, and double backward needs nothing new. Pooling is linear once its
indices are known: the adjoint of putting back is looking up.

A Function costs some microseconds and keeps its operands alive, so it is used only where a gradient is wanted; in
forward mode too, which it has no rule for, and says so, where a bare operator would give zeros.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function, forward_ad

from fastconv.torch import ops

Tensor = torch.Tensor

PAIRS = ([2, 2], [2, 2], [0, 0], [1, 1], False)
"""The pooling of windows of 2 x 2, side by side, as operators take it."""


def recorded(*tensors: Tensor | None) -> bool:
    """Whether a gradient is wanted of any of the tensors."""
    if forward_ad._current_level >= 0:
        return True
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def apply(function: Any, *arguments: Any) -> Any:
    """As ``function.apply``, past the look at its signature, which takes 20 us, where only transforms need that."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return function.apply(*arguments)
    return super(Function, function).apply(*arguments)


def conv2d(x: Tensor, w: Tensor, b: Tensor | None, *how: Any) -> Tensor:
    """y (N, K, P, Q); ``how`` is stride, padding, dilation, groups, backend."""
    if not recorded(x, w, b):
        return ops.conv2d(x, w, b, *how)
    result = ops.by_torch("conv2d", x, w, b, *how)
    return apply(_Conv2d, x, w, b, *how) if result is None else result


def conv2d_input(size: Any, w: Tensor, grad: Tensor, *how: Any) -> Tensor:
    """The adjoint for x."""
    return apply(_Conv2dInput, size, w, grad, *how) if recorded(w, grad) else ops.conv2d_input(size, w, grad, *how)


def conv2d_weight(x: Tensor, size: Any, grad: Tensor, *how: Any) -> Tensor:
    """The adjoint for w."""
    return apply(_Conv2dWeight, x, size, grad, *how) if recorded(x, grad) else ops.conv2d_weight(x, size, grad, *how)


def max_pool2d(x: Tensor, *how: Any) -> tuple[Tensor, Tensor]:
    """Values and indices; ``how`` is kernel, stride, padding, dilation, ceil_mode, backend."""
    if not recorded(x):
        return ops.max_pool2d(x, *how)
    results = ops.by_torch("max_pool2d", x, *how)
    return apply(_MaxPool2d, x, *how) if results is None else results


def max_pool2d_values(x: Tensor, *how: Any) -> Tensor:
    """The values alone; a gradient needs the indices."""
    return max_pool2d(x, *how)[0] if recorded(x) else ops.max_pool2d_values(x, *how)


def max_pool2d_backward(grad: Tensor, indices: Tensor, size: Any, backend: str) -> Tensor:
    """The adjoint of max pooling at ``indices``; ``size`` is (H, W)."""
    if recorded(grad):
        return apply(_MaxPool2dBackward, grad, indices, size, backend)
    return ops.max_pool2d_backward(grad, indices, size, backend)


def max_pool2d_gradient(grad: Tensor, indices: Tensor, size: Any, *how: Any) -> Tensor:
    """The same by whoever knows the pooling; ``size`` is (N, C, H, W), ``how`` as in `max_pool2d`."""
    if recorded(grad):
        return apply(_MaxPool2dGradient, grad, indices, size, *how)
    return ops.max_pool2d_gradient(grad, indices, size, *how)


def avg_pool2d(x: Tensor, *how: Any) -> Tensor:
    """``how`` is kernel, stride, padding, dilation, ceil_mode, count_include_pad, divisor_override, backend."""
    if not recorded(x):
        return ops.avg_pool2d(x, *how)
    result = ops.by_torch("avg_pool2d", x, *how)
    return apply(_AvgPool2d, x, *how) if result is None else result


def avg_pool2d_backward(grad: Tensor, size: Any, *how: Any) -> Tensor:
    """The adjoint of average pooling."""
    return apply(_AvgPool2dBackward, grad, size, *how) if recorded(grad) else ops.avg_pool2d_backward(grad, size, *how)


def unfold(x: Tensor, kernel: Any, *how: Any) -> Tensor:
    """Columns; ``how`` as in `conv2d`."""
    return apply(_Unfold, x, kernel, *how) if recorded(x) else ops.unfold(x, kernel, *how)


def fold(columns: Tensor, size: Any, kernel: Any, *how: Any) -> Tensor:
    """The adjoint of `unfold`; ``size`` is (H, W)."""
    return apply(_Fold, columns, size, kernel, *how) if recorded(columns) else ops.fold(columns, size, kernel, *how)


def channel_sum(x: Tensor, channels: int) -> Tensor:
    """(``channels``,): the gradient of a bias, x having so many channels, or none if the input had none."""
    return x.sum((0, 2, 3)) if x.shape[1] else x.new_zeros(channels)


def separately(x: Tensor, w: Tensor, b: Tensor | None, activation: str | None, pool: str | None, *how: Any) -> Tensor:
    """A block by functions that have gradients of any order."""
    y = conv2d(x, w, b, *how)
    if activation is not None:
        y = getattr(torch, activation)(y)
    if pool == "max":
        return max_pool2d(y, *PAIRS, how[-1])[0]
    return y if pool is None else avg_pool2d(y, *PAIRS, True, None, how[-1])


class _Conv2d(Function):
    forward = staticmethod(ops.conv2d)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, w, _, *ctx.how = inputs
        ctx.save_for_backward(x, w)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, w = ctx.saved_tensors
        for_x, for_w, for_b = ctx.needs_input_grad[:3]
        return (
            conv2d_input(x.shape, w, grad, *ctx.how) if for_x else None,
            conv2d_weight(x, w.shape, grad, *ctx.how) if for_w else None,
            channel_sum(grad, w.shape[0]) if for_b else None,
            *[None] * len(ctx.how),
        )


class _Conv2dInput(Function):
    forward = staticmethod(ops.conv2d_input)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, w, grad, *ctx.how = inputs
        ctx.save_for_backward(w, grad)

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> Any:
        w, grad = ctx.saved_tensors
        _, for_w, for_grad = ctx.needs_input_grad[:3]
        return (
            None,
            conv2d_weight(x, w.shape, grad, *ctx.how) if for_w else None,
            conv2d(x, w, None, *ctx.how) if for_grad else None,
            *[None] * len(ctx.how),
        )


class _Conv2dWeight(Function):
    forward = staticmethod(ops.conv2d_weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, _, grad, *ctx.how = inputs
        ctx.save_for_backward(x, grad)

    @staticmethod
    def backward(ctx: Any, w: Tensor) -> Any:
        x, grad = ctx.saved_tensors
        for_x, _, for_grad = ctx.needs_input_grad[:3]
        return (
            conv2d_input(x.shape, w, grad, *ctx.how) if for_x else None,
            None,
            conv2d(x, w, None, *ctx.how) if for_grad else None,
            *[None] * len(ctx.how),
        )


class _MaxPool2d(Function):
    forward = staticmethod(ops.max_pool2d)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, *ctx.how = inputs
        ctx.size = x.shape
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])
        # Else torch makes zeros of the indices' size, each time.
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Any) -> Any:
        if grad is None:
            return None, *[None] * len(ctx.how)
        (indices,) = ctx.saved_tensors
        return max_pool2d_gradient(grad, indices, ctx.size, *ctx.how), *[None] * len(ctx.how)


class _MaxPool2dBackward(Function):
    forward = staticmethod(ops.max_pool2d_backward)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.others = len(inputs) - 1

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        found = x.flatten(2).gather(2, indices.clamp(min=0).flatten(2)).view(indices.shape)
        return found.masked_fill(indices < 0, 0), *[None] * ctx.others


class _MaxPool2dGradient(_MaxPool2dBackward):
    forward = staticmethod(ops.max_pool2d_gradient)


class _AvgPool2d(Function):
    forward = staticmethod(ops.avg_pool2d)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, *ctx.how = inputs
        ctx.size = x.shape

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return avg_pool2d_backward(grad, ctx.size, *ctx.how), *[None] * len(ctx.how)


class _AvgPool2dBackward(Function):
    forward = staticmethod(ops.avg_pool2d_backward)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, _, *ctx.how = inputs

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> Any:
        return avg_pool2d(x, *ctx.how), None, *[None] * len(ctx.how)


class _Unfold(Function):
    forward = staticmethod(ops.unfold)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, ctx.kernel, *ctx.how = inputs
        ctx.size = x.shape[2:]

    @staticmethod
    def backward(ctx: Any, columns: Tensor) -> Any:
        return fold(columns, ctx.size, ctx.kernel, *ctx.how), None, *[None] * len(ctx.how)


class _Fold(Function):
    forward = staticmethod(ops.fold)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, _, ctx.kernel, *ctx.how = inputs

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> Any:
        return unfold(x, ctx.kernel, *ctx.how), None, None, *[None] * len(ctx.how)
