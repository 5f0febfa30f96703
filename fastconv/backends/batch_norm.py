"""A backend's batch normalisation takes the statistics of the batch, and adds a residual and an activation.

    mean[c], var[c]  =  mean and variance of x[:, c]
    y[n, c, u]       =  f((x[n, c, u] - mean[c]) / sqrt(var[c] + eps) * gamma[c] + beta[c] + residual[n, c, u])

As one step each way it reads and writes each array once; torch's separate functions take five passes over memory in
the forward pass, and six backwards.

Reference: Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
shift" (2015).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np


class NormOperands(NamedTuple):
    """These are the arrays of a batch normalisation: C-contiguous NumPy arrays, or torch tensors on the CPU."""

    x: Any
    """(N, C, H, W)."""
    residual: Any
    """(N, C, H, W), or None. In the backward pass the result stands here where `reads_result` says so."""
    gamma: Any
    """(C,), or None for ones."""
    beta: Any
    """(C,), or None for zeros."""
    statistics: Any
    """(2, C): the batch's means, and 1 / sqrt(var + eps); the forward pass writes them."""


class NormGradients(NamedTuple):
    """These are the gradients of a batch normalisation's arrays; those that aren't wanted are None."""

    result: Any
    x: Any
    residual: Any
    gamma: Any
    beta: Any


class BatchNorm(ABC):
    """A batch normalisation for one shape, data type and activation."""

    reads_result = False
    """True if the gradient of an activated sum with a residual is computed from the result, not from the residual: what
    follows mostly keeps the result anyway, and nothing else a residual that is computed."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """Returns an array for results, with undefined content."""
        return np.empty(shape, dtype)

    @abstractmethod
    def forward(
        self, at: NormOperands, result: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> None:
        """Fill the result and the statistics, and update the running statistics unless they are None.

        The running ones change by ``momentum`` times their distance from the batch's, whose variance there divides by
        one element less.
        """

    @abstractmethod
    def backward(self, at: NormOperands, gradients: NormGradients) -> None:
        """Fill the gradients that are wanted, from the result's."""
