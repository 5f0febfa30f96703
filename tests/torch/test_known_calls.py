"""Calls on tensors that compiled code knows again give what they gave before, and only where nothing else goes on."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import fastconv
from fastconv import known
from fastconv.backends.numba_cpu.calls import entry
from fastconv.torch import functional as ours
from fastconv.torch import known as tensor_calls
from tests.torch.known_calls import ENOUGH, TRANSPOSED, B, Counting, W, X

LAYERS: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {
    "conv1d": (X[:, :, 0].clone(), W[:, :, 0].clone(), B),
    "conv2d": (X, W, B),
    "conv_transpose2d": (X, TRANSPOSED, B),
}
"""Images, weight and bias of each layer."""


def is_known(call: Callable[[], Any], counting: Counting) -> bool:
    """Returns True if compiled code answers a call that was made some times."""
    for _ in range(ENOUGH):
        call()
    before = counting.answered
    call()
    return counting.answered == before + 1


KNOWN: dict[str, Callable[..., Any]] = {
    "conv2d": partial(ours.conv2d, X, W),
    "bias": partial(ours.conv2d, X, W, B, 2, (1, 0)),
    "parameters": partial(torch.no_grad()(ours.conv2d), X, nn.Parameter(W), nn.Parameter(B)),
    "unbatched": partial(ours.conv2d, X[1], W, B, padding="same"),
    "float64": partial(ours.conv2d, X.double(), W.double(), B.double()),
    "view": partial(ours.conv2d, X[1:], W[1:], B[1:]),
    "input gradient": partial(fastconv.conv2d_input, (2, 4, 11, 10), W, torch.ones(2, 3, 9, 8)),
    "weight gradient": partial(fastconv.conv2d_weight, X, (3, 4, 3, 3), torch.ones(2, 3, 7, 6)),
    "average gradient": partial(fastconv.avg_pool2d_backward, X, (2, 4, 18, 16), 2),
    "max": partial(ours.max_pool2d, X, 3, 2, 1),
    "average": partial(ours.avg_pool2d, X, 2),
    "max, unbatched": partial(ours.max_pool2d, X[0], (2, 3)),
    "max, indices": partial(ours.max_pool2d, X, 2, return_indices=True),
    "max, indices, unbatched": partial(ours.max_pool2d, X[0], 3, 2, 1, return_indices=True),
    "max, indices, float64": partial(ours.max_pool2d, X.double(), 2, 1, return_indices=True),
    "max1d, indices": partial(ours.max_pool1d, X[:, 0].clone(), 2, return_indices=True),
}


def tensors_of(result: Any) -> tuple[torch.Tensor, ...]:
    """Returns the tensors of a result: one, or values and indices."""
    return result if type(result) is tuple else (result,)


@pytest.mark.parametrize("call", KNOWN.values(), ids=KNOWN)
def test_known_calls_give_the_same(call: Callable[..., Any], counting: Counting) -> None:
    usual = tensors_of(call(backend="naive"))
    assert is_known(call, counting)
    found = tensors_of(call()), tensors_of(call())
    for results in found:
        for result, expected in zip(results, usual, strict=True):
            assert type(result) is torch.Tensor
            assert result.is_contiguous()
            assert not result.requires_grad
            torch.testing.assert_close(result, expected)
    assert len({each.data_ptr() for results in found for each in results}) == 2 * len(usual)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    "wanted", [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_passes_of_a_layer_are_known_calls(
    layer: str, wanted: tuple[bool, bool, bool], dtype: torch.dtype, counting: Counting
) -> None:
    given = LAYERS[layer]
    mine, theirs = getattr(ours, layer), getattr(torch.nn.functional, layer)
    operands = [each.clone().to(dtype).requires_grad_(want) for each, want in zip(given, wanted, strict=True)]
    inputs = [each for each in operands if each.requires_grad]
    shape = theirs(*given).shape
    grad = torch.linspace(-1, 1, shape.numel(), dtype=dtype).reshape(shape)

    def gradients(function: Callable[..., Any], kind: torch.dtype) -> Any:
        return torch.autograd.grad(function(*[each.to(kind) for each in operands]), inputs, grad.to(kind))

    for _ in range(ENOUGH):
        gradients(mine, dtype)
    before = counting.answered
    found = gradients(mine, dtype)
    assert counting.answered == before + 1 + wanted[0] + wanted[1]
    torch.testing.assert_close(found, gradients(theirs, torch.float64), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
@pytest.mark.parametrize("layer", ["conv2d", "conv_transpose2d"])
def test_known_passes_have_gradients_of_gradients(layer: str, counting: Counting) -> None:
    x, w, b = (each.double().requires_grad_() for each in (X[:1, :, :5, :4], *LAYERS[layer][1:]))
    mine = getattr(ours, layer)
    for _ in range(ENOUGH):
        mine(x, w, b).square().sum().backward()
    before = counting.answered
    assert torch.autograd.gradcheck(mine, (x, w, b), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(mine, (x, w, b))
    assert counting.answered > before


@pytest.mark.parametrize("layer", ["conv2d", "conv_transpose2d"])
def test_known_passes_see_changes_between_them(layer: str, counting: Counting) -> None:
    x, w = (each.clone().requires_grad_() for each in LAYERS[layer][:2])
    mine = getattr(ours, layer)
    for _ in range(ENOUGH):
        y = mine(x, w)
        y.backward(torch.ones_like(y))
    y = mine(x, w)
    with torch.no_grad():
        w.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward(torch.ones_like(y))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
def test_what_is_left_to_python(counting: Counting) -> None:
    call = partial(ours.conv2d, X, W, B)
    assert is_known(call, counting)
    negative, unwritten = torch._neg_view(X), torch._efficientzerotensor(X.shape)
    last = X.contiguous(memory_format=torch.channels_last)
    others: list[Callable[[], Any]] = [
        lambda: torch.func.jvp(lambda x: ours.conv2d(x, W, B), (X,), (X,)),
        lambda: ours.conv2d(negative, W, B),
        lambda: ours.conv2d(unwritten, W, B),
        lambda: ours.conv2d(last, W, B),
        lambda: ours.conv2d(X.half(), W.half(), B.half()),
        lambda: ours.conv2d(X[:, :, :, ::2], W, B),
    ]
    before = counting.answered
    for other in others:
        for _ in range(2 * entry.PATIENCE):
            other()
        assert counting.answered == before
    # Inside of vmap's rule and of the Function of a gradient are plain tensors, which compiled code may compute.
    torch.testing.assert_close(
        torch.func.grad(lambda w: ours.conv2d(X, w, B).square().sum())(W),
        torch.func.grad(lambda w: torch.nn.functional.conv2d(X.double(), w, B.double()).square().sum())(W.double()),
        rtol=1e-5,
        atol=1e-4,
        check_dtype=False,
    )
    batched = torch.func.vmap(lambda x: ours.conv2d(x, W, B))
    for _ in range(2 * entry.PATIENCE):
        torch.testing.assert_close(batched(torch.stack((X, -X)))[1], ours.conv2d(-X, W, B))
    before = counting.answered
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours.conv2d(X, W, B).dtype is torch.bfloat16
    assert counting.answered == before
    assert ours.conv2d(last, W, B).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours.conv2d(negative, W, B), ours.conv2d(-X, W, B))
    for wrong in (X.to_sparse(), X.to("meta"), X[:, :3]):
        with pytest.raises((RuntimeError, TypeError)):
            ours.conv2d(wrong, W, B)


def test_modes_see_known_calls(counting: Counting) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    call = partial(ours.conv2d, X, W, B)
    assert is_known(call, counting)
    before = counting.answered
    with FlopCounterMode(display=False) as counter:
        call()
    assert counter.get_total_flops() > 0
    with FakeTensorMode() as mode:
        assert type(ours.conv2d(mode.from_tensor(X), mode.from_tensor(W))).__name__ == "FakeTensor"
    assert counting.answered == before


def test_storages_stay_resizable() -> None:
    x, w = X.clone().requires_grad_(), W.clone().requires_grad_()
    y = ours.conv2d(x, w, B)
    y.backward(torch.ones_like(y))
    strided, zeros = X.clone(), torch.zeros(0, 4, 9, 8)
    fastconv.conv2d(strided[:, :, ::2], W, backend="im2col")
    assert fastconv.conv2d(zeros, W, B).shape == (0, 3, 7, 6)
    for each in (x, w, strided, zeros):
        assert each.untyped_storage().resizable()
    # A plan keeps its weight, so that must stay where it is.
    ours.plan_conv2d(X.shape, w, B)
    assert not w.untyped_storage().resizable()


def test_arrays_of_tensors_leave_no_references_behind() -> None:
    columns = X[..., ::2]
    seen = X, W, columns, None, torch.float32
    call = partial(fastconv.conv2d, X, W, backend="im2col")
    call()
    before = [sys.getrefcount(each) for each in seen]
    for _ in range(500):
        call()
        fastconv.conv2d(columns, W, backend="im2col")
    after = [sys.getrefcount(each) for each in seen]
    assert max(abs(one - other) for one, other in zip(before, after, strict=True)) < 50


def test_storages_that_shrank_are_refused(counting: Counting) -> None:
    x = torch.zeros(3, 4, 9, 8)[1:]
    x.copy_(X)
    assert is_known(lambda: ours.conv2d(x, W, B), counting)
    for size in (1000, 0):
        x.untyped_storage().resize_(size)
        with pytest.raises(RuntimeError, match="resized"):
            ours.conv2d(x, W, B)


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_torch_compile_takes_known_calls_whole(counting: Counting) -> None:
    assert is_known(lambda: ours.conv2d(X, W, B), counting)
    assert is_known(lambda: ours.max_pool2d(X, 2), counting)
    compiled = torch.compile(lambda x: ours.max_pool2d(ours.conv2d(x, W, B), 2), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(X), ours.max_pool2d(ours.conv2d(X, W, B), 2))


def test_calls_leave_no_references_behind(counting: Counting) -> None:
    call = partial(ours.conv2d, X, W, B)
    assert is_known(call, counting)
    _assert_nothing_left(call, (X, W, B, None, NotImplemented, torch.float32))


def test_indices_leave_no_references_behind(counting: Counting) -> None:
    call = partial(ours.max_pool2d, X, 2, return_indices=True)
    assert is_known(call, counting)
    _assert_nothing_left(call, (X, None, True, NotImplemented, torch.float32, torch.int64))
    assert [sys.getrefcount(each) for each in call()] == [3, 3]
    assert [each._use_count() for each in call()] == [1, 1]


def _assert_nothing_left(call: Callable[[], Any], seen: tuple[Any, ...]) -> None:
    """Raise an error if many calls keep references to the objects ``seen``, or memory."""
    tracemalloc.start()
    before, start = [sys.getrefcount(each) for each in seen], tracemalloc.get_traced_memory()[0]
    for _ in range(20_000):
        call()
    after, end = [sys.getrefcount(each) for each in seen], tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert max(abs(one - other) for one, other in zip(before, after, strict=True)) < 50
    assert end - start < 10_000


def test_results_in_inference_mode_are_inference_tensors() -> None:
    with torch.inference_mode():
        for _ in range(ENOUGH):
            assert ours.conv2d(X, W, B).is_inference()


def test_the_slow_way_without_an_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_calls, "tensor_interface", lambda: None)
    calls = tensor_calls.TensorCalls()
    monkeypatch.setattr(known, "tensors", calls)
    for table in known._tables:
        calls.use(table)
    for _ in range(ENOUGH):
        torch.testing.assert_close(ours.conv2d(X, W, B), ours.conv2d(X, W, B, backend="naive"))
    assert calls.conv2d(X, W, B, 1, 0, 1, 1, None) is NotImplemented
