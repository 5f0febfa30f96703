"""Gradients of poolings, as `torch.autograd.Function`s that call one another, so that any order of them exists.

An average is linear. A maximum is linear once its indices are known: its gradient puts each element back at its index,
and the derivative of that, like the maximum's own in forward mode, looks the elements up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function

from fastconv.remembering import (
    remember_avg_pool2d,
    remember_avg_pool2d_backward,
    remember_max_pool2d,
    remember_max_pool2d_gradient,
)
from fastconv.torch import ops
from fastconv.torch.known import TENSORS, known_or
from fastconv.torch.recording import apply, recorded, with_tangent
from fastconv.torch.vmap import image_rule

Tensor = torch.Tensor

PAIRS = ([2, 2], [2, 2], [0, 0], [1, 1], False)
"""The pooling of windows of 2 x 2, side by side, as operators take it."""


def max_pool2d(x: Tensor, *how: Any) -> tuple[Tensor, Tensor]:
    """Returns values and indices; ``how`` is kernel, stride, padding, dilation, ceil_mode, backend."""
    if not recorded(x):
        return _max_pool2d(x, *how)
    results = ops.by_torch("max_pool2d", x, *how)
    return apply(_MaxPool2d, x, *how) if results is None else results


def max_pool2d_values(x: Tensor, *how: Any) -> Tensor:
    """Returns the values alone; a gradient needs the indices."""
    return max_pool2d(x, *how)[0] if recorded(x) else ops.max_pool2d_values(x, *how)


def max_pool2d_backward(grad: Tensor, indices: Tensor, size: Any, backend: str) -> Tensor:
    """Returns the gradient of max pooling at ``indices``; ``size`` is (H, W)."""
    if recorded(grad):
        return apply(_MaxPool2dBackward, grad, indices, size, backend)
    return ops.max_pool2d_backward(grad, indices, size, backend)


def max_pool2d_gradient(grad: Tensor, indices: Tensor, size: Any, *how: Any) -> Tensor:
    """Returns the same where the pooling is known; ``size`` is (N, C, H, W), ``how`` as in `max_pool2d`."""
    if recorded(grad):
        return apply(_MaxPool2dGradient, grad, indices, size, *how)
    return _max_pool2d_gradient(grad, indices, size, *how)


def avg_pool2d(x: Tensor, *how: Any) -> Tensor:
    """Returns averages; ``how`` is as in `max_pool2d`, with count_include_pad, divisor_override before the backend."""
    if not recorded(x):
        return _avg_pool2d(x, *how)
    result = ops.by_torch("avg_pool2d", x, *how)
    return apply(_AvgPool2d, x, *how) if result is None else result


def avg_pool2d_backward(grad: Tensor, size: Any, *how: Any) -> Tensor:
    """Returns the gradient of average pooling; ``size`` is (N, C, H, W)."""
    return apply(_AvgPool2dBackward, grad, size, *how) if recorded(grad) else _avg_pool2d_backward(grad, size, *how)


def _max_pool2d(x: Tensor, *how: Any) -> tuple[Tensor, Tensor]:
    """Returns values and indices without recording a gradient, by compiled code if that knows the call."""
    known = x, *how[:5], True, how[5]
    return known_or(TENSORS.max_pool2d, known, ops.max_pool2d, (x,), how, remember_max_pool2d)


def _max_pool2d_gradient(grad: Tensor, indices: Tensor, size: Any, *how: Any) -> Tensor:
    """Returns the gradient as `_max_pool2d`."""
    known, operands = (grad, indices, tuple(size), *how), (grad, indices, size)
    return known_or(
        TENSORS.max_pool2d_gradient, known, ops.max_pool2d_gradient, operands, how, remember_max_pool2d_gradient
    )


def _avg_pool2d(x: Tensor, *how: Any) -> Tensor:
    """Returns averages as `_max_pool2d`."""
    known = x, *how[:3], *how[4:]
    return known_or(TENSORS.avg_pool2d, known, ops.avg_pool2d, (x,), how, remember_avg_pool2d)


def _avg_pool2d_backward(grad: Tensor, size: Any, *how: Any) -> Tensor:
    """Returns the gradient as `_max_pool2d`."""
    known = grad, tuple(size), *how[:3], *how[4:]
    return known_or(
        TENSORS.avg_pool2d_backward, known, ops.avg_pool2d_backward, (grad, size), how, remember_avg_pool2d_backward
    )


def looked_up(x: Tensor, indices: Tensor) -> Tensor:
    """Returns the elements of x at indices into its planes; 0 at an index of -1."""
    # Not `flatten`, which has no rule under ``is_grads_batched``.
    pixels, places = x.shape[2] * x.shape[3], indices.shape[2] * indices.shape[3]
    planes = x.reshape(x.shape[0], x.shape[1], pixels)
    taken = indices.clamp(min=0).reshape(indices.shape[0], indices.shape[1], places)
    found = planes.gather(2, taken).reshape(indices.shape)
    return found.masked_fill(indices < 0, 0)


@with_tangent
class _MaxPool2d(Function):
    forward, eagerly = staticmethod(ops.max_pool2d), staticmethod(_max_pool2d)
    vmap = staticmethod(image_rule(max_pool2d))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, *ctx.how = inputs
        ctx.size = x.shape
        ctx.save_for_backward(output[1])
        ctx.save_for_forward(output[1])
        ctx.mark_non_differentiable(output[1])
        # Else torch makes zeros of the indices' size, each time.
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Any) -> Any:
        if grad is None:
            return None, *[None] * len(ctx.how)
        (indices,) = ctx.saved_tensors
        return max_pool2d_gradient(grad, indices, ctx.size, *ctx.how), *[None] * len(ctx.how)

    @staticmethod
    def tangent(ctx: Any, dx: Tensor, *_: Any) -> Any:
        (indices,) = ctx.saved_tensors
        return looked_up(dx, indices), None


@with_tangent
class _MaxPool2dBackward(Function):
    forward = staticmethod(ops.max_pool2d_backward)
    vmap = staticmethod(image_rule(max_pool2d_backward, tensors=2))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, indices, *ctx.others = inputs
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices)

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        return looked_up(x, indices), None, *[None] * len(ctx.others)

    @staticmethod
    def tangent(ctx: Any, dgrad: Tensor, *_: Any) -> Any:
        (indices,) = ctx.saved_tensors
        return max_pool2d_backward(dgrad, indices, *ctx.others)


@with_tangent
class _MaxPool2dGradient(_MaxPool2dBackward):
    forward, eagerly = staticmethod(ops.max_pool2d_gradient), staticmethod(_max_pool2d_gradient)
    vmap = staticmethod(image_rule(max_pool2d_gradient, tensors=2, size_at=2))

    @staticmethod
    def tangent(ctx: Any, dgrad: Tensor, *_: Any) -> Any:
        (indices,) = ctx.saved_tensors
        return max_pool2d_gradient(dgrad, indices, *ctx.others)


@with_tangent
class _AvgPool2d(Function):
    forward, eagerly = staticmethod(ops.avg_pool2d), staticmethod(_avg_pool2d)
    vmap = staticmethod(image_rule(avg_pool2d))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, *ctx.how = inputs
        ctx.size = x.shape

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return avg_pool2d_backward(grad, ctx.size, *ctx.how), *[None] * len(ctx.how)

    @staticmethod
    def tangent(ctx: Any, dx: Tensor, *_: Any) -> Any:
        return avg_pool2d(dx, *ctx.how)


@with_tangent
class _AvgPool2dBackward(Function):
    forward, eagerly = staticmethod(ops.avg_pool2d_backward), staticmethod(_avg_pool2d_backward)
    vmap = staticmethod(image_rule(avg_pool2d_backward, size_at=1))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, ctx.size, *ctx.how = inputs

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> Any:
        return avg_pool2d(x, *ctx.how), None, *[None] * len(ctx.how)

    @staticmethod
    def tangent(ctx: Any, dgrad: Tensor, *_: Any) -> Any:
        return avg_pool2d_backward(dgrad, ctx.size, *ctx.how)
