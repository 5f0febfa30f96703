"""This file runs a block by a backend's primitives, which keep infinities and NaN where the definition has them."""

from __future__ import annotations

import numpy as np

from fastconv.backends.base import Backend
from fastconv.backends.block import Block, pairs_of


def block_forward(
    backend: Backend, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, block: Block
) -> tuple[np.ndarray, np.ndarray]:
    """Return a block's result, and the array that its gradient needs besides.

    That array holds the indices after max pooling, the averaged numbers after average pooling, and is else empty, of
    shape (0,).
    """
    g = block.geometry
    y = (
        backend.conv2d(x, w, b, g)
        if block.activation is None
        else backend.conv2d_activated(x, w, b, g, block.activation)
    )
    if block.pool is None:
        return y, np.empty(0, y.dtype)
    return backend.max_pool2d(y, pairs_of(g)) if block.pool == "max" else (backend.avg_pool2d(y, pairs_of(g)), y)


def block_backward(
    backend: Backend,
    grad: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    result: np.ndarray,
    kept: np.ndarray,
    block: Block,
    wanted: tuple[bool, bool, bool],
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Return the gradients of x, w and b, those of the three that are wanted, from grad and both results of a block."""
    g = block.geometry
    if block.pool == "avg":
        grad, result = backend.avg_pool2d_backward(grad, pairs_of(g)), kept
    # After max pooling the activation's gradient is taken of the pooled gradient, which is a quarter as large.
    grad = change = grad if block.activation is None else backend.activation_backward(grad, result, block.activation)
    if block.pool == "max":
        change = backend.max_pool2d_gradient(grad, kept, pairs_of(g))
    return (
        backend.conv2d_input(change, w, g) if wanted[0] else None,
        backend.conv2d_weight(x, change, g) if wanted[1] else None,
        backend.channel_sum(grad) if wanted[2] else None,
    )
