"""Gradients of convolutions, as `torch.autograd.Function`s that call one another, so that any order of them exists.

Convolution, its input gradient and its weight gradient are the three partial derivatives of one trilinear form,

    <grad, conv2d(x, w)> = <conv2d_input(grad, w), x> = <conv2d_weight(x, grad), w>,

so the gradient of each is made of the other two, and double backward needs nothing new. Forward mode needs nothing new
either: each of the three is linear in both of its operands, so its derivative along (dx, dw) is f(dx, w) + f(x, dw).
`pool_autograd` has the poolings.

A Function costs some microseconds and keeps its operands alive, so it is used only where a gradient is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import Function

from fastconv.remembering import remember_conv2d, remember_conv2d_input, remember_conv2d_weight
from fastconv.torch import ops
from fastconv.torch.known import TENSORS, known_or
from fastconv.torch.recording import apply, recorded, with_tangent
from fastconv.torch.vmap import conv2d_input_rule, conv2d_rule, conv2d_weight_rule, image_rule

Tensor = torch.Tensor


def conv2d(x: Tensor, w: Tensor, b: Tensor | None, *how: Any) -> Tensor:
    """Returns y (N, K, P, Q); ``how`` is stride, padding, dilation, groups, backend."""
    if not recorded(x, w, b):
        return _conv2d(x, w, b, *how)
    result = ops.by_torch("conv2d", x, w, b, *how)
    return apply(_Conv2d, x, w, b, *how) if result is None else result


def conv2d_input(size: Any, w: Tensor, grad: Tensor, *how: Any) -> Tensor:
    """Returns the input gradient, of ``size`` (N, C, H, W)."""
    return apply(_Conv2dInput, size, w, grad, *how) if recorded(w, grad) else _conv2d_input(size, w, grad, *how)


def conv2d_weight(x: Tensor, size: Any, grad: Tensor, *how: Any) -> Tensor:
    """Returns the weight gradient, of ``size`` (K, C / G, R, S)."""
    return apply(_Conv2dWeight, x, size, grad, *how) if recorded(x, grad) else _conv2d_weight(x, size, grad, *how)


def _conv2d(x: Tensor, w: Tensor, b: Tensor | None, *how: Any) -> Tensor:
    """Returns the convolution without recording a gradient, by compiled code if that knows the call."""
    known = x, w, b, *how
    return known_or(TENSORS.conv2d, known, ops.conv2d, (x, w, b), how, remember_conv2d)


def _conv2d_input(size: Any, w: Tensor, grad: Tensor, *how: Any) -> Tensor:
    """Returns the input gradient as `_conv2d`."""
    known = grad, w, tuple(size), *how
    return known_or(TENSORS.conv2d_input, known, ops.conv2d_input, (size, w, grad), how, remember_conv2d_input)


def _conv2d_weight(x: Tensor, size: Any, grad: Tensor, *how: Any) -> Tensor:
    """Returns the weight gradient as `_conv2d`."""
    known = x, grad, tuple(size), *how
    return known_or(TENSORS.conv2d_weight, known, ops.conv2d_weight, (x, size, grad), how, remember_conv2d_weight)


def unfold(x: Tensor, kernel: Any, *how: Any) -> Tensor:
    """Returns the columns of x; ``how`` is as in `conv2d`."""
    return apply(_Unfold, x, kernel, *how) if recorded(x) else ops.unfold(x, kernel, *how)


def fold(columns: Tensor, size: Any, kernel: Any, *how: Any) -> Tensor:
    """Returns the transpose of `unfold`; ``size`` is (H, W)."""
    return apply(_Fold, columns, size, kernel, *how) if recorded(columns) else ops.fold(columns, size, kernel, *how)


def channel_sum(x: Tensor, channels: int) -> Tensor:
    """Returns the gradient of a bias, (``channels``,): zeros if x has no channels, as the input had none."""
    return x.sum((0, 2, 3)) if x.shape[1] else x.new_zeros(channels)


def _product_rule(function: Callable[[Any, Any], Tensor], first: Any, second: Any, changes: tuple[Any, Any]) -> Any:
    """Returns the derivative of a bilinear function along the changes of its operands; None if both are None."""
    parts = []
    if changes[0] is not None:
        parts.append(function(changes[0], second))
    if changes[1] is not None:
        parts.append(function(first, changes[1]))
    return sum(parts[1:], parts[0]) if parts else None


@with_tangent
class _Conv2d(Function):
    forward, eagerly = staticmethod(ops.conv2d), staticmethod(_conv2d)
    vmap = staticmethod(conv2d_rule(conv2d))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, w, _, *ctx.how = inputs
        ctx.save_for_backward(x, w)
        ctx.save_for_forward(x, w)

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

    @staticmethod
    def tangent(ctx: Any, dx: Any, dw: Any, db: Any, *_: Any) -> Any:
        x, w = ctx.saved_tensors
        change = _product_rule(lambda one, other: conv2d(one, other, None, *ctx.how), x, w, (dx, dw))
        if db is None:
            return change
        if change is None:
            change = torch.zeros_like(conv2d(x, w, None, *ctx.how))
        return change + db[:, None, None] if change.shape[1] else change


@with_tangent
class _Conv2dInput(Function):
    forward, eagerly = staticmethod(ops.conv2d_input), staticmethod(_conv2d_input)
    vmap = staticmethod(conv2d_input_rule(conv2d_input))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.size, w, grad, *ctx.how = inputs
        ctx.save_for_backward(w, grad)
        ctx.save_for_forward(w, grad)

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

    @staticmethod
    def tangent(ctx: Any, _size: Any, dw: Any, dgrad: Any, *_: Any) -> Any:
        w, grad = ctx.saved_tensors
        return _product_rule(lambda one, other: conv2d_input(ctx.size, one, other, *ctx.how), w, grad, (dw, dgrad))


@with_tangent
class _Conv2dWeight(Function):
    forward, eagerly = staticmethod(ops.conv2d_weight), staticmethod(_conv2d_weight)
    vmap = staticmethod(conv2d_weight_rule(conv2d_weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, ctx.size, grad, *ctx.how = inputs
        ctx.save_for_backward(x, grad)
        ctx.save_for_forward(x, grad)

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

    @staticmethod
    def tangent(ctx: Any, dx: Any, _size: Any, dgrad: Any, *_: Any) -> Any:
        x, grad = ctx.saved_tensors
        return _product_rule(lambda one, other: conv2d_weight(one, ctx.size, other, *ctx.how), x, grad, (dx, dgrad))


@with_tangent
class _Unfold(Function):
    forward = staticmethod(ops.unfold)
    vmap = staticmethod(image_rule(unfold))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, ctx.kernel, *ctx.how = inputs
        ctx.size = x.shape[2:]

    @staticmethod
    def backward(ctx: Any, columns: Tensor) -> Any:
        return fold(columns, ctx.size, ctx.kernel, *ctx.how), None, *[None] * len(ctx.how)

    @staticmethod
    def tangent(ctx: Any, dx: Tensor, *_: Any) -> Any:
        return unfold(dx, ctx.kernel, *ctx.how)


@with_tangent
class _Fold(Function):
    forward = staticmethod(ops.fold)
    vmap = staticmethod(image_rule(fold))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, ctx.size, ctx.kernel, *ctx.how = inputs

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> Any:
        return unfold(x, ctx.kernel, *ctx.how), None, None, *[None] * len(ctx.how)

    @staticmethod
    def tangent(ctx: Any, dcolumns: Tensor, *_: Any) -> Any:
        return fold(dcolumns, ctx.size, ctx.kernel, *ctx.how)
