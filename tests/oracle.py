"""What is right: torch's own functions and autograd in float64, on contiguous copies. No code of fastconv is used."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F


def tensor(array: np.ndarray) -> torch.Tensor:
    """A contiguous float64 copy that records gradients."""
    return torch.from_numpy(np.array(array, np.float64, order="C")).requires_grad_()


def _unpadded(x: torch.Tensor, how: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    """torch has no four-sided padding: pad first."""
    padding = how.get("padding", 0)
    if isinstance(padding, tuple) and len(padding) == 4:
        top, bottom, left, right = padding
        return F.pad(x, (left, right, top, bottom)), {**how, "padding": 0}
    return x, how


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, how: dict[str, Any]) -> np.ndarray:
    """The convolution's result."""
    image, rest = _unpadded(tensor(x), how)
    return F.conv2d(image, tensor(w), None if b is None else tensor(b), **rest).detach().numpy()


def conv2d_gradients(
    x: np.ndarray, w: np.ndarray, grad: np.ndarray, how: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients for input, weight and bias."""
    leaves = tensor(x), tensor(w), tensor(np.zeros(w.shape[0]))
    image, rest = _unpadded(leaves[0], how)
    return gradients(F.conv2d(image, leaves[1], leaves[2], **rest), leaves, grad)


def gradients(result: torch.Tensor, leaves: tuple[torch.Tensor, ...], grad: np.ndarray) -> tuple[np.ndarray, ...]:
    """The gradients of <result, grad> for the leaves; zeros where a leaf took no part.

    torch refuses to differentiate some empty results: their gradients are zeros.
    """
    if result.numel() == 0:
        return tuple(np.zeros(tuple(leaf.shape)) for leaf in leaves)
    found = torch.autograd.grad(result, leaves, torch.from_numpy(np.array(grad, np.float64)), allow_unused=True)
    return tuple(np.zeros(tuple(leaf.shape)) if g is None else g.numpy() for g, leaf in zip(found, leaves, strict=True))
