"""Rules by which `torch.func.vmap` runs a function once for a whole batch of calls, instead of once for each.

Where only images are batched, the batch joins N. Where the weight is too, the batch joins the channels and the calls
become groups of one convolution: the weight gradient of each sample (`vmap(grad)`) and ensembles of models take this
way. B is the batch's size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Tensor = torch.Tensor

Rule = Callable[..., Any]
"""A function on tensors, or the rule made of it: (info, batch axes, *arguments) -> (results, their batch axes)."""


def _first(x: Tensor, dim: int | None, batch: int) -> Tensor:
    """Returns x with the batch as its first axis; a tensor without one is repeated, without copies."""
    return x.expand(batch, *x.shape) if dim is None else x.movedim(dim, 0)


def _into_images(x: Tensor, dim: int | None, batch: int) -> Tensor:
    """Returns (B * N, C, ...) from a batch of (N, C, ...)."""
    x = _first(x, dim, batch)
    return x.reshape(batch * x.shape[1], *x.shape[2:])


def _into_channels(x: Tensor, dim: int | None, batch: int) -> Tensor:
    """Returns (N, B * C, H, W) from a batch of (N, C, H, W)."""
    x = _first(x, dim, batch).transpose(0, 1)
    return x.reshape(x.shape[0], batch * x.shape[2], *x.shape[3:])


def _from_channels(y: Tensor, batch: int) -> Tensor:
    """Returns (N, B, K, P, Q) from (N, B * K, P, Q)."""
    return y.reshape(y.shape[0], batch, y.shape[1] // batch, *y.shape[2:])


def _grouped(how: tuple[Any, ...], batch: int) -> tuple[Any, ...]:
    stride, padding, dilation, groups, backend = how
    return stride, padding, dilation, groups * batch, backend


def conv2d_rule(conv2d: Rule) -> Rule:
    """Returns the rule of ``conv2d(x, w, b, *how)``."""

    def rule(info: Any, dims: Any, x: Tensor, w: Tensor, b: Tensor | None, *how: Any) -> tuple[Tensor, int]:
        B = info.batch_size
        if dims[1] is None and dims[2] is None:
            y = conv2d(_into_images(x, dims[0], B), w, b, *how)
            return y.reshape(B, y.shape[0] // B, *y.shape[1:]), 0
        bias = None if b is None else _into_images(b, dims[2], B)
        y = conv2d(_into_channels(x, dims[0], B), _into_images(w, dims[1], B), bias, *_grouped(how, B))
        return _from_channels(y, B), 1

    return rule


def conv2d_input_rule(conv2d_input: Rule) -> Rule:
    """Returns the rule of ``conv2d_input(size, w, grad, *how)``."""

    def rule(info: Any, dims: Any, size: Any, w: Tensor, grad: Tensor, *how: Any) -> tuple[Tensor, int]:
        B, (N, C, H, W) = info.batch_size, size
        if dims[1] is None:
            x = conv2d_input((B * N, C, H, W), w, _into_images(grad, dims[2], B), *how)
            return x.reshape(B, N, C, H, W), 0
        grad, w = _into_channels(grad, dims[2], B), _into_images(w, dims[1], B)
        return _from_channels(conv2d_input((N, B * C, H, W), w, grad, *_grouped(how, B)), B), 1

    return rule


def conv2d_weight_rule(conv2d_weight: Rule) -> Rule:
    """Returns the rule of ``conv2d_weight(x, size, grad, *how)``."""

    def rule(info: Any, dims: Any, x: Tensor, size: Any, grad: Tensor, *how: Any) -> tuple[Tensor, int]:
        B, (K, *rest) = info.batch_size, size
        x, grad = _into_channels(x, dims[0], B), _into_channels(grad, dims[2], B)
        return conv2d_weight(x, (B * K, *rest), grad, *_grouped(how, B)).reshape(B, K, *rest), 0

    return rule


def image_rule(function: Rule, tensors: int = 1, size_at: int | None = None) -> Rule:
    """Returns the rule of a function that does each image by itself.

    Args:
        function: its first arguments are tensors (N, ...), and so are its results.
        tensors: how many of its arguments are tensors.
        size_at: which argument, if any, is a size that begins with N.
    """

    def rule(info: Any, dims: Any, *arguments: Any) -> tuple[Any, Any]:
        B = info.batch_size
        folded: list[Any] = [_into_images(x, dim, B) for x, dim in zip(arguments[:tensors], dims, strict=False)]
        folded += arguments[tensors:]
        if size_at is not None:
            N, *rest = folded[size_at]
            folded[size_at] = (B * N, *rest)
        results = function(*folded)
        if isinstance(results, Tensor):
            return results.reshape(B, results.shape[0] // B, *results.shape[1:]), 0
        return tuple([y.reshape(B, y.shape[0] // B, *y.shape[1:]) for y in results]), (0,) * len(results)

    return rule
