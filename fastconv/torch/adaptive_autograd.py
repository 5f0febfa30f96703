"""Gradients of adaptive poolings, as `torch.autograd.Function`s; `pool_autograd` says how they hang together."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function

from fastconv.torch import ops
from fastconv.torch.pool_autograd import looked_up
from fastconv.torch.recording import apply, recorded, with_tangent
from fastconv.torch.vmap import image_rule

Tensor = torch.Tensor


def adaptive_max_pool2d(x: Tensor, size: Any, backend: str) -> tuple[Tensor, Tensor]:
    """Returns values and indices; ``size`` is (P, Q)."""
    if not recorded(x):
        return ops.adaptive_max_pool2d(x, size, backend)
    results = ops.by_torch("adaptive_max_pool2d", x, size, backend)
    return apply(_AdaptiveMaxPool2d, x, size, backend) if results is None else results


def adaptive_max_pool2d_values(x: Tensor, size: Any, backend: str) -> Tensor:
    """Returns the values alone; a gradient needs the indices."""
    if recorded(x):
        return adaptive_max_pool2d(x, size, backend)[0]
    return ops.adaptive_max_pool2d_values(x, size, backend)


def adaptive_max_pool2d_gradient(grad: Tensor, indices: Tensor, size: Any, backend: str) -> Tensor:
    """Returns the gradient of adaptive max pooling; ``size`` is (N, C, H, W)."""
    if recorded(grad):
        return apply(_AdaptiveMaxPool2dGradient, grad, indices, size, backend)
    return ops.adaptive_max_pool2d_gradient(grad, indices, size, backend)


def adaptive_avg_pool2d(x: Tensor, size: Any, backend: str) -> Tensor:
    """Returns averages; ``size`` is (P, Q)."""
    if not recorded(x):
        return ops.adaptive_avg_pool2d(x, size, backend)
    result = ops.by_torch("adaptive_avg_pool2d", x, size, backend)
    return apply(_AdaptiveAvgPool2d, x, size, backend) if result is None else result


def adaptive_avg_pool2d_backward(grad: Tensor, size: Any, backend: str) -> Tensor:
    """Returns the gradient of adaptive average pooling; ``size`` is (N, C, H, W)."""
    if recorded(grad):
        return apply(_AdaptiveAvgPool2dBackward, grad, size, backend)
    return ops.adaptive_avg_pool2d_backward(grad, size, backend)


@with_tangent
class _AdaptiveMaxPool2d(Function):
    forward = staticmethod(ops.adaptive_max_pool2d)
    vmap = staticmethod(image_rule(adaptive_max_pool2d))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, _, ctx.backend = inputs
        ctx.size = x.shape
        ctx.save_for_backward(output[1])
        ctx.save_for_forward(output[1])
        ctx.mark_non_differentiable(output[1])
        # Else torch makes zeros of the indices' size, each time.
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Any) -> Any:
        if grad is None:
            return None, None, None
        (indices,) = ctx.saved_tensors
        return adaptive_max_pool2d_gradient(grad, indices, ctx.size, ctx.backend), None, None

    @staticmethod
    def tangent(ctx: Any, dx: Tensor, *_: Any) -> Any:
        (indices,) = ctx.saved_tensors
        return looked_up(dx, indices), None


@with_tangent
class _AdaptiveMaxPool2dGradient(Function):
    forward = staticmethod(ops.adaptive_max_pool2d_gradient)
    vmap = staticmethod(image_rule(adaptive_max_pool2d_gradient, tensors=2, size_at=2))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, indices, *ctx.others = inputs
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices)

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        return looked_up(x, indices), None, None, None

    @staticmethod
    def tangent(ctx: Any, dgrad: Tensor, *_: Any) -> Any:
        (indices,) = ctx.saved_tensors
        return adaptive_max_pool2d_gradient(dgrad, indices, *ctx.others)


@with_tangent
class _AdaptiveAvgPool2d(Function):
    forward = staticmethod(ops.adaptive_avg_pool2d)
    vmap = staticmethod(image_rule(adaptive_avg_pool2d))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, *ctx.how = inputs
        ctx.size = x.shape

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return adaptive_avg_pool2d_backward(grad, ctx.size, ctx.how[-1]), None, None

    @staticmethod
    def tangent(ctx: Any, dx: Tensor, *_: Any) -> Any:
        return adaptive_avg_pool2d(dx, *ctx.how)


@with_tangent
class _AdaptiveAvgPool2dBackward(Function):
    forward = staticmethod(ops.adaptive_avg_pool2d_backward)
    vmap = staticmethod(image_rule(adaptive_avg_pool2d_backward, size_at=1))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        grad, *ctx.others = inputs
        ctx.size = grad.shape[2:]

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> Any:
        return adaptive_avg_pool2d(x, ctx.size, ctx.others[-1]), None, None

    @staticmethod
    def tangent(ctx: Any, dgrad: Tensor, *_: Any) -> Any:
        return adaptive_avg_pool2d_backward(dgrad, *ctx.others)
