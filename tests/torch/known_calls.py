"""Operands of calls that compiled code knows again, and a count of the calls that it answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from fastconv.backends.numba_cpu.calls import entry
from fastconv.torch import known as tensor_calls

ENOUGH = 64 + entry.PATIENCE + 1
"""Number of calls after which the next one is known."""

X = torch.randn(2, 4, 9, 8, generator=torch.Generator().manual_seed(1))
W, B = X[0, :3, :, :4].reshape(3, 4, 3, 3).contiguous(), X[0, 0, 0, :3].clone()
TRANSPOSED = W.transpose(0, 1).contiguous()


class Counting:
    """Counts the calls that compiled code answers."""

    def __init__(self, calls: tensor_calls.TensorCalls, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answered = 0
        for name in (
            "_conv2d",
            "_conv2d_input",
            "_conv2d_weight",
            "_max_pool2d",
            "_max_pool2d_gradient",
            "_avg_pool2d",
            "_avg_pool2d_backward",
        ):
            monkeypatch.setattr(calls, name, partial(self._count, getattr(calls, name)))

    def _count(self, call: Callable[..., Any], *arguments: Any) -> Any:
        found = call(*arguments)
        self.answered += found is not None and found is not NotImplemented
        return found
