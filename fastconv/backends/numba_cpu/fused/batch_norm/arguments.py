"""`BatchNormArguments` are the arguments of the tasks of batch normalisation. A task does one channel."""

from __future__ import annotations

from fastconv.backends.numba_cpu.simd.arguments import Arguments


class BatchNormArguments(Arguments):
    """Lists the arguments; arrays are (N, C, plane) or (C,), and a vector of parameters may have address 0."""

    x: int
    """Address of the images."""
    residual: int
    """Address of what is added before the activation, or 0."""
    gamma: int
    """Address of the factors, or 0 for ones."""
    beta: int
    """Address of the summands, or 0 for zeros."""
    statistics: int
    """Address of the means and, behind them, of 1 / sqrt(var + eps)."""
    result: int
    """Address of the results, or of their gradient."""
    running_mean: int
    """Address of the running means, or 0."""
    running_var: int
    """Address of the running variances."""
    before: int
    """Address of memory for the running means and variances as they were, and for beta, or 0."""
    factors: int
    """Address of two numbers: momentum and eps."""
    x_grad: int
    """Address of the gradient of the images, or 0."""
    residual_grad: int
    """Address of the gradient of the residual, or 0."""
    gamma_grad: int
    """Address of the gradient of the factors, or 0."""
    beta_grad: int
    """Address of the gradient of the summands, or 0."""
    workspace: int
    """Address of 64 bytes for each thread."""
    N: int
    C: int
    plane: int
    """Number of pixels of an image."""
