"""Local response normalisation: torch's values and gradients, on the backend asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fastconv.models.response_norm import LocalResponseNorm


@pytest.mark.parametrize("shape", [(2, 7, 4, 5), (1, 1, 3, 3), (3, 2, 1, 1), (0, 4, 2, 2)], ids=str)
@pytest.mark.parametrize("given", [(5, 1e-4, 0.75, 2.0), (3, 0.5, 0.6, 1.0), (1, 1.0, 2.0, 0.5)], ids=str)
def test_torchs_values_and_gradients(shape: tuple[int, ...], given: tuple[int, float, float, float]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(shape, generator=generator, dtype=torch.float64)
    mine, theirs = LocalResponseNorm(*given, backend="numba")(x), nn.LocalResponseNorm(*given)(x)
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    pair = [torch.autograd.grad(each, x, grad)[0] for each in (mine, theirs)]
    torch.testing.assert_close(*pair, rtol=1e-12, atol=1e-12)


def test_backend_asked_for_runs(ran: list[tuple[str, str]]) -> None:
    LocalResponseNorm(3, backend="im2col")(torch.ones(1, 4, 2, 2))
    assert ran == [("im2col", "avg_pool2d")]
