"""What several tests of tensors ask for."""

from __future__ import annotations

import pytest
import torch

import fastconv
from fastconv import known
from fastconv.torch import known as tensor_calls
from tests.torch.known_calls import ENOUGH, Counting


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    x = torch.ones(1, 1, 4, 4)
    for _ in range(ENOUGH):
        fastconv.max_pool2d(x, 2)
    assert isinstance(known.tensors, tensor_calls.TensorCalls)
    return Counting(known.tensors, monkeypatch)
