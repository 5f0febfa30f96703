"""Blocks computed by functions that have gradients of any order, which a block's own two steps do not have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from fastconv.torch import autograd, pool_autograd
from fastconv.torch.pool_autograd import PAIRS

Tensor = torch.Tensor


def separately(
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    residual: Tensor | None,
    activation: str | None,
    pool: str | None,
    *how: Any,
) -> Tensor:
    """Returns the result of a block, computed layer by layer."""
    y = autograd.conv2d(x, w, b, *how)
    if residual is not None:
        y = y + residual
    if activation is not None:
        y = activated(y, activation)
    if pool == "max":
        return pool_autograd.max_pool2d(y, *PAIRS, how[-1])[0]
    return y if pool is None else pool_autograd.avg_pool2d(y, *PAIRS, True, None, how[-1])


def activated(y: Tensor, activation: str) -> Tensor:
    """Returns torch's result of an activation."""
    if activation == "gelu_tanh":
        return torch.nn.functional.gelu(y, approximate="tanh")
    result: Tensor = getattr(torch.nn.functional, activation)(y)
    return result


def gradients_again(
    forward: Callable[..., Any],
    operands: Sequence[Tensor | None],
    grad: Tensor | Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Returns the partial derivatives of ``forward(*operands)``, which have gradients themselves in grad mode.

    The operands are replaced by views of them: where one is computed from another, as in tied layers, the views keep
    the derivative by the one from running through the other. Of several results each has its ``grad``, or None; an
    operand that none of those depends on has None.
    """
    records = torch.is_grad_enabled()
    with torch.enable_grad():
        views = [None if operand is None else operand.view_as(operand) for operand in operands]
        results = forward(*views)
    if isinstance(grad, Tensor):
        results, grad = (results,), (grad,)
    there = [(result, change) for result, change in zip(results, grad, strict=True) if change is not None]
    by = [view for view, want in zip(views, wanted, strict=True) if want and view is not None]
    of, changes = [result for result, _ in there], [change for _, change in there]
    found = iter(torch.autograd.grad(of, by, changes, create_graph=records, allow_unused=True))
    return [next(found) if want else None for want in wanted]
