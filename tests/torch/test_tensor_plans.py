"""Plans on tensors are computed in compiled code at once, and leave to Python what isn't a plain tensor."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fastconv
from fastconv.torch import functional as ours
from fastconv.torch.planning import TensorConv2dPlan
from tests.torch.known_calls import B, W, X


@pytest.fixture
def plan() -> fastconv.planning.Conv2dPlan:
    return ours.plan_conv2d(tuple(X.shape), W, B)


@pytest.mark.parametrize("shape", [(2, 4, 9, 8), (4, 9, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_plans_are_computed_at_once(
    shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, w, b = X[0].to(dtype).expand(shape).contiguous(), W.to(dtype), B.to(dtype)
    plan = ours.plan_conv2d(shape, w, b)
    monkeypatch.setattr(TensorConv2dPlan, "_check", None)
    results = [plan(each) for each in (x, x, nn.Parameter(x, requires_grad=False))]
    with torch.no_grad():
        results.append(plan(x.clone().requires_grad_()))
    for result in results:
        assert type(result) is torch.Tensor
        assert (result.dtype, result.requires_grad) == (dtype, False)
        torch.testing.assert_close(result, nn.functional.conv2d(x, w, b))
    assert len({result.data_ptr() for result in results}) == len(results)


def test_what_plans_leave_to_python(plan: fastconv.planning.Conv2dPlan) -> None:
    expected = plan(X)
    apart = X.contiguous(memory_format=torch.channels_last)
    assert plan(apart).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(plan(apart), expected)
    torch.testing.assert_close(plan(torch._neg_view(X)), plan(-X))
    for wrong in (X.double(), X[:1], X.to_sparse(), X.to("meta"), X.numpy(), None, X.clone().requires_grad_()):
        with pytest.raises((RuntimeError, TypeError)):
            plan(wrong)
    with pytest.raises(RuntimeError, match="gradient may be wanted"):
        torch.func.vmap(plan)(X[None])
    small = X.clone()
    small.untyped_storage().resize_(8)
    with pytest.raises(RuntimeError, match="resized"):
        plan(small)
