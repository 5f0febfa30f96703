"""Poolings that compiled code knows again, and their gradients: torch's, and only where nothing else goes on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from fastconv.backends.numba_cpu.calls import entry
from fastconv.torch import functional as ours
from tests.torch.known_calls import ENOUGH, Counting, X

POOLINGS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "average": ("avg_pool2d", (2,)),
    "average, stride 3": ("avg_pool2d", (2, 3)),
    "average, padding": ("avg_pool2d", (2, 2, 1)),
    "average, divisor": ("avg_pool2d", (2, 3, 0, False, True, -4)),
    "max": ("max_pool2d", (2,)),
    "max, overlapping": ("max_pool2d", (3, 2, 1)),
    "max, overhanging": ("max_pool2d", ((3, 2), 2, 0, 1, True)),
    "max, whole planes": ("max_pool2d", ((9, 8),)),
}
"""A pooling's function and its windows."""


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_passes_of_a_pooling_are_known_calls(pooling: str, dtype: torch.dtype, counting: Counting) -> None:
    name, how = POOLINGS[pooling]
    mine, theirs, x = getattr(ours, name), getattr(torch.nn.functional, name), X.clone().to(dtype).requires_grad_()
    shape = theirs(X, *how).shape
    grad = torch.linspace(-1, 1, shape.numel(), dtype=dtype).reshape(shape)

    def gradient(function: Callable[..., Any], kind: torch.dtype) -> Any:
        return torch.autograd.grad(function(x.to(kind), *how), x, grad.to(kind))[0]

    for _ in range(ENOUGH):
        gradient(mine, dtype)
    before = counting.answered
    found = gradient(mine, dtype)
    assert counting.answered == before + 2
    torch.testing.assert_close(found, gradient(theirs, torch.float64), rtol=1e-5, atol=1e-5)
    wide = X[:1, :1].double().requires_grad_()
    for _ in range(ENOUGH):
        mine(wide, *how).square().sum().backward()
    before = counting.answered
    assert torch.autograd.gradcheck(lambda t: mine(t, *how), wide, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda t: mine(t, *how), wide)
    assert counting.answered > before


def test_known_indices_beside_gradients(counting: Counting) -> None:
    x = X.clone().requires_grad_()
    for _ in range(ENOUGH):
        ours.max_pool2d(x, 2, return_indices=True)
    before = counting.answered
    values, indices = ours.max_pool2d(x, 2, return_indices=True)
    assert counting.answered == before + 1
    assert values.requires_grad
    assert not indices.requires_grad
    assert torch.equal(indices, torch.nn.functional.max_pool2d(X, 2, return_indices=True)[1])
    indices.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        values.backward(torch.ones_like(values))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
def test_poolings_that_are_left_to_python(counting: Counting) -> None:
    class Image(torch.Tensor):
        pass

    x, grad = X.clone().requires_grad_(), torch.ones(2, 4, 4, 4)
    both = partial(ours.max_pool2d, return_indices=True)
    for _ in range(2 * ENOUGH):
        both(X, 2)
        torch.autograd.grad(ours.max_pool2d(x, 2), x, grad)
    negative, unwritten = torch._neg_view(X), torch._efficientzerotensor(X.shape)
    last = X.contiguous(memory_format=torch.channels_last)
    strange = [X.long(), X.half(), X[..., ::2], X[:0], negative, unwritten, last, X.as_subclass(Image)]
    calls: list[Callable[[], Any]] = [partial(both, each, 2) for each in strange]
    calls.append(lambda: torch.func.jvp(lambda t: ours.max_pool2d(t, 2), (X,), (X,)))
    before = counting.answered
    for call in calls:
        for _ in range(2 * entry.PATIENCE):
            call()
        assert counting.answered == before
    with torch.autocast("cpu", dtype=torch.bfloat16):
        both(X, 2)
    assert counting.answered == before
    for each in (negative, last, X.as_subclass(Image), X[..., ::2], X.long()):
        pairs = zip(both(each, 2), torch.nn.functional.max_pool2d(each, 2, return_indices=True), strict=True)
        for found, expected in pairs:
            assert type(found) is type(expected)
            assert found.stride() == expected.stride()
            torch.testing.assert_close(found, expected)


GRADIENTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "negated": lambda grad: torch._neg_view(-grad),
    "never written": lambda grad: torch._efficientzerotensor(grad.shape),
    "expanded": lambda grad: grad[:1, :1, :1, :1].expand(grad.shape),
    "channels last": lambda grad: grad.contiguous(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("kind", GRADIENTS)
def test_odd_gradients_of_a_known_pooling(kind: str, counting: Counting) -> None:
    x, grad = X.clone().requires_grad_(), torch.linspace(-1, 1, 128).reshape(2, 4, 4, 4)
    odd = GRADIENTS[kind](grad)
    for given in (grad, odd):
        for _ in range(ENOUGH):
            torch.autograd.grad(ours.max_pool2d(x, 2), x, given)
    before = counting.answered
    (found,) = torch.autograd.grad(ours.max_pool2d(x, 2), x, odd)
    assert counting.answered == before + 1  # the forward pass
    (expected,) = torch.autograd.grad(torch.nn.functional.max_pool2d(x, 2), x, odd)
    torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_known_poolings_in_anomaly_mode_and_transforms(pooling: str, counting: Counting) -> None:
    name, how = POOLINGS[pooling]
    mine, theirs, x = getattr(ours, name), getattr(torch.nn.functional, name), X.clone().requires_grad_()
    grad = torch.ones_like(theirs(X, *how))
    for _ in range(ENOUGH):
        torch.autograd.grad(mine(x, *how), x, grad)
    grad[0, 0, 0, 0] = torch.nan
    with torch.autograd.detect_anomaly(check_nan=True), pytest.raises(RuntimeError, match="returned nan values"):
        torch.autograd.grad(mine(x, *how), x, grad)
    for _ in range(2 * entry.PATIENCE):
        by_sample = torch.func.vmap(torch.func.grad(lambda t: mine(t[None], *how).square().sum()))(X)
    expected = torch.func.grad(lambda t: theirs(t, *how).square().sum())(X)
    torch.testing.assert_close(by_sample, expected)
