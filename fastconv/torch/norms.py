"""Batch normalisation in training, with the residual and the activation behind it, as one step each way.

A backend that has such a step reads and writes each array once (`fastconv.backends.batch_norm`). Where it has none, or
tensors aren't plain, and for gradients of gradients, torch's own functions compute the same.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd import Function

from fastconv import registry
from fastconv.backends.base import Backend
from fastconv.backends.batch_norm import BatchNorm, NormGradients, NormOperands
from fastconv.backends.block import Activation
from fastconv.torch.internals import apply_directly, is_undisturbed
from fastconv.torch.memory import DTYPES, as_it_was, has_storage, is_alike, is_plain
from fastconv.torch.separate import activated, gradients_again

Tensor = torch.Tensor


class Norm(NamedTuple):
    """The constants of a batch normalisation, and what follows it."""

    momentum: float
    eps: float
    activation: Activation | None


def batch_norm(
    norm: Norm,
    x: Tensor,
    residual: Tensor | None,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
) -> Tensor:
    """Returns f(batch_norm(x) + residual), normalised by the statistics of the batch.

    Args:
        norm: momentum, eps and the activation f.
        x: (N, C, ...).
        residual: of x's shape, or None.
        gamma, beta: (C,), or None for ones and zeros.
        running_mean, running_var: (C,), both updated; or both None.
    """
    step = _step(norm, x, residual, gamma, beta, running_mean, running_var)
    if step is None:
        return _separately(norm, running_mean, running_var, x, residual, gamma, beta)
    operands = x, residual, gamma, beta
    if torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in operands):
        result: Tensor = apply_directly(_BatchNorm, step, norm, running_mean, running_var, *operands)
        return result
    return _forward(step, norm, running_mean, running_var, operands)[0]


def _separately(
    norm: Norm,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    x: Tensor,
    residual: Tensor | None,
    gamma: Tensor | None,
    beta: Tensor | None,
) -> Tensor:
    y = F.batch_norm(x, running_mean, running_var, gamma, beta, True, norm.momentum, norm.eps)
    if residual is not None:
        y = y + residual
    if norm.activation is not None:
        y = activated(y, norm.activation)
    return y


def _step(norm: Norm, x: Tensor, residual: Tensor | None, *vectors: Tensor | None) -> BatchNorm | None:
    """Returns the backend's step, or None if it has none for these tensors."""
    if not is_plain(x) or x.numel() <= x.shape[1] or norm.eps <= 0:
        return None
    if residual is not None and not (is_plain(residual) and residual.dtype is x.dtype and residual.shape == x.shape):
        return None
    channels = x.shape[1:2]
    if not all(each is None or (is_alike(each, x) and each.shape == channels) for each in vectors):
        return None
    running = vectors[2:]
    if (running[0] is None) != (running[1] is None) or any(each is not None and each.requires_grad for each in running):
        return None
    return _made(registry.resolve(None), tuple(x.shape), norm.activation, DTYPES[x.dtype])


@lru_cache(maxsize=4096)
def _made(backend: Backend, shape: tuple[int, ...], activation: Activation | None, dtype: Any) -> BatchNorm | None:
    return backend.batch_norm(shape, activation, dtype)


def _forward(
    step: BatchNorm, norm: Norm, running_mean: Tensor | None, running_var: Tensor | None, operands: Any
) -> tuple[Tensor, Tensor]:
    """Returns the result, and the batch's statistics."""
    x, residual, gamma, beta = operands
    result, statistics = _empty(step, x.shape, x.dtype), x.new_empty(2, x.shape[1])
    at = NormOperands(x, residual, gamma, beta, statistics)
    step.forward(at, result, running_mean, running_var, norm.momentum, norm.eps)
    return result, statistics


def _empty(step: BatchNorm, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(step.empty(shape, DTYPES[dtype]))


class _BatchNorm(Function):
    @staticmethod
    def forward(ctx: Any, step: BatchNorm, norm: Norm, mean: Any, var: Any, *operands: Tensor | None) -> Tensor:
        result, statistics = _forward(step, norm, mean, var, operands)
        x, residual, gamma, beta = operands
        ctx.step, ctx.norm = step, norm
        # Without activation no gradient reads the residual or beta. Behind one, the result may say what they do.
        ctx.linear = norm.activation is None or (residual is not None and step.reads_result)
        others = (None if norm.activation is None else result, None) if ctx.linear else (residual, beta)
        saved = [x, gamma, *others, statistics]
        ctx.forms = [None if each is None else (each.shape, each.dtype) for each in saved]
        ctx.save_for_backward(*saved)
        ctx.set_materialize_grads(False)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> Any:
        if grad is None:
            return (None,) * 8
        wanted = ctx.needs_input_grad[4:]
        if torch.is_grad_enabled() or not is_undisturbed() or not has_storage(grad):
            return None, None, None, None, *_backward_again(ctx, grad, wanted)
        x, gamma, residual, beta, statistics = [
            None if each is None else as_it_was(each, *form)
            for each, form in zip(ctx.saved_tensors, ctx.forms, strict=True)
        ]
        shape, dtype = ctx.forms[0]
        grad = as_it_was(grad, shape, dtype)
        found = [
            _empty(ctx.step, size, dtype) if want else None
            for size, want in zip((shape, shape, shape[1:2], shape[1:2]), wanted, strict=True)
        ]
        ctx.step.backward(NormOperands(x, residual, gamma, beta, statistics), NormGradients(grad, *found))
        return None, None, None, None, *found


def _backward_again(ctx: Any, grad: Tensor, wanted: Any) -> Any:
    x, gamma, other, beta, _ = ctx.saved_tensors
    if not ctx.linear:
        return gradients_again(partial(_separately, ctx.norm, None, None), (x, other, gamma, beta), grad, wanted)
    # The gradient is that of a sum times a slope, whatever the summands are.
    slope = None if other is None else _slope(ctx.norm.activation, other.detach())
    summands = [
        torch.zeros_like(each, requires_grad=want) for each, want in ((x, wanted[1]), (x[0, :, 0, 0], wanted[3]))
    ]

    def scaled(x: Tensor, residual: Tensor, gamma: Tensor | None, beta: Tensor) -> Tensor:
        y = _separately(ctx.norm._replace(activation=None), None, None, x, residual, gamma, beta)
        return y if slope is None else y * slope

    return gradients_again(scaled, (x, summands[0], gamma, summands[1]), grad, wanted)


@torch.enable_grad()
def _slope(activation: Activation, result: Tensor) -> Tensor:
    """Returns the derivative of an activation that gives its results for its results."""
    result.requires_grad_()
    (slope,) = torch.autograd.grad(activated(result, activation).sum(), result)
    return slope
