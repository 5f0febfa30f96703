"""When results agree with torch's: shapes and types as promised, picked elements exactly, sums but for rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..tolerance import assert_equal

PICKING = {"adaptive_max_pool1d", "adaptive_max_pool2d", "max_pool1d", "max_pool2d", "max_unpool2d", "unfold"}
"""The operations that compute nothing, so that every bit must be right."""


def assert_results(operation: str, results: Sequence[Any], expected: Sequence[torch.Tensor], dtype: str) -> None:
    """Of a forward pass, NumPy arrays or tensors: ``dtype`` values, and int64 indices where torch gives some."""
    assert len(results) == len(expected)
    for result, exact in zip(map(np.asarray, results), expected, strict=True):
        assert result.dtype == (dtype if exact.is_floating_point() else np.int64)
        if operation in PICKING:
            np.testing.assert_array_equal(result, exact.numpy(), strict=False)
            assert result.shape == tuple(exact.shape)
        else:
            assert_equal(result, exact.numpy())


def assert_gradients(gradients: Sequence[torch.Tensor], expected: Sequence[torch.Tensor], dtype: str) -> None:
    """One for each floating-point argument."""
    assert len(gradients) == len(expected)
    for number, (gradient, exact) in enumerate(zip(gradients, expected, strict=True)):
        assert gradient.dtype == getattr(torch, dtype)
        assert_equal(gradient, exact.numpy(), f"gradient {number}")
