"""Layers that run together: torch's results and gradients."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from unittest import mock

import pytest
import torch
from torch import nn

import fastconv
from fastconv.backends.numba_cpu.fused import lowering as blocks
from fastconv.backends.numba_cpu.runtime.program import Program
from fastconv.torch import Conv2d, ConvBlock2d, Sequential, chain_autograd, chains, sequential
from tests.torch.together import CASES, assert_near, images, model, runs_together, separate


@pytest.fixture
def no_detour() -> Iterator[None]:
    """Finite numbers that took the way round for infinite ones would hide that a program gives wrong ones."""
    run = Program.run_at

    def checked(program: Program, places: Sequence[int]) -> bool:
        assert run(program, places), "finite operands, and the program's flag went up"
        return True

    with mock.patch.object(Program, "run_at", checked):
        yield


@pytest.mark.parametrize("wants_x", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("no_detour")
def test_results_and_gradients_are_those_of_the_layers(
    case: str, dtype: torch.dtype, wants_x: bool, backend: str
) -> None:
    mine = model(case, backend, dtype)
    theirs = separate(mine)
    x = images(case, dtype).requires_grad_(wants_x)
    exact = x.detach().double().requires_grad_(wants_x)
    y, expected = mine(x), theirs(exact)
    assert_near(y, expected)
    assert runs_together(y) == (backend == "numba")
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    for _ in range(2):
        y.backward(grad, retain_graph=True)
        expected.backward(grad.double(), retain_graph=True)
    if wants_x:
        assert x.grad is not None
        assert exact.grad is not None
        assert_near(x.grad, exact.grad)
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert_near(one.grad, other.grad)
    with torch.no_grad():
        assert torch.equal(mine(x), y)


@pytest.mark.usefixtures("no_detour")
def test_gradients_that_are_views_of_others() -> None:
    """What comes back from a concatenation, a transposition and a sum isn't contiguous."""
    mine = model("max pooling, no bias", "numba")[:2]
    theirs, x = separate(mine), images("max pooling, no bias")
    for through in (
        lambda net: torch.cat([net(x), net(x + 1)], 1).square().sum(),
        lambda net: (net(x).transpose(0, 3) * torch.arange(5.0)).square().sum(),
        lambda net: net(x).sum(),
        lambda net: torch.view_as_complex(net(x)[..., :2].contiguous()).conj().imag.square().sum(),
    ):
        for one, other in zip(
            torch.autograd.grad(through(mine), list(mine.parameters())),
            torch.autograd.grad(through(theirs), list(theirs.parameters())),
            strict=True,
        ):
            assert_near(one, other)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("no_detour")
def test_only_the_gradients_that_are_wanted(case: str) -> None:
    mine = model(case, "numba")
    parameters = list(mine.parameters())
    for number in range(len(parameters)):
        for parameter in parameters:
            parameter.requires_grad_(parameter is parameters[number])
            parameter.grad = None
        theirs = separate(mine)
        y = mine(images(case))
        y.square().sum().backward()
        theirs(images(case)).square().sum().backward()
        for one, other in zip(parameters, theirs.parameters(), strict=True):
            assert (one.grad is None) == (other.grad is None)
            if one.grad is not None and other.grad is not None:
                assert_near(one.grad, other.grad)


@pytest.mark.usefixtures("no_detour")
def test_several_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SLAB_BYTES", 2 * 6 * 28 * 28 * 8)
    caches = blocks.slabs, chains._chain
    for each in caches:
        each.cache_clear()
    mine = model("lenet5", "numba")
    theirs = separate(mine)
    x = torch.randn(7, 1, 28, 28, dtype=torch.float64)
    mine(x).square().sum().backward()
    theirs(x).square().sum().backward()
    assert len(blocks.slabs(sequential._first_run(list(mine), x).chain.blocks[0].geometry, 8)) == 4  # type: ignore[union-attr]
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert_near(one.grad, other.grad)  # type: ignore[arg-type]
    for each in caches:
        each.cache_clear()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_travels_as_through_the_layers(value: float, case: str) -> None:
    """In an image, a weight, and a gradient; but for tanh before max pooling, which no case has."""
    for where in ("image", "weight", "last weight", "gradient"):
        mine = model(case, "numba")
        x = images(case)
        weights = [p for p in mine.parameters() if p.ndim > 1]
        with torch.no_grad():
            if where == "image":
                x[1, 0, 0, 0] = value
            elif where != "gradient":
                weights[-1 if "last" in where else 0].view(-1)[0] = value
        theirs = separate(mine)
        x.requires_grad_()
        exact = x.detach().clone().requires_grad_()
        y, expected = mine(x), theirs(exact)
        torch.testing.assert_close(y, expected, equal_nan=True, rtol=1e-9, atol=1e-9)
        grad = torch.ones_like(y)
        if where == "gradient":
            grad.view(-1)[0] = value
        y.backward(grad)
        expected.backward(grad)
        pairs = [(x.grad, exact.grad), *((p.grad, q.grad) for p, q in zip(mine.parameters(), theirs.parameters()))]  # noqa: B905
        for one, other in pairs:
            torch.testing.assert_close(one, other, equal_nan=True, rtol=1e-9, atol=1e-9)


def test_gradients_of_gradients() -> None:
    mine = Sequential(
        ConvBlock2d(1, 2, 2, activation="tanh", pool="avg", backend="numba"),
        ConvBlock2d(2, 2, 1, activation="tanh", backend="numba"),
        nn.Flatten(),
        nn.Linear(2 * 2 * 2, 2),
    ).double()
    x = torch.randn(2, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in mine.named_parameters()]

    def call(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        for name, parameter in zip(names, parameters, strict=True):
            layer, _, kind = name.partition(".")
            vars(mine[int(layer)])["_parameters"][kind] = parameter
        return mine(x)

    operands = (x, *[p.detach().clone().requires_grad_() for p in mine.parameters()])
    assert runs_together(call(*operands)) or any(type(p) is not torch.Tensor for p in operands)
    assert torch.autograd.gradcheck(call, operands)
    assert torch.autograd.gradgradcheck(call, operands)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    before = fastconv.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            fastconv.set_num_threads(threads)
            mine = model("lenet5", "numba", torch.float32)
            x = torch.randn(40, 1, 28, 28, generator=torch.Generator().manual_seed(4), requires_grad=True)
            y = mine(x)
            y.square().sum().backward()
            found.append([y, x.grad, *(p.grad for p in mine.parameters())])
    finally:
        fastconv.set_num_threads(before)
    for one, other in zip(found[0] * 2, found[1] + found[2], strict=True):
        assert torch.equal(one, other)  # type: ignore[arg-type]


def test_threads_run_one_chain_at_once() -> None:
    mine = model("lenet5", "numba", torch.float32)
    batches = [torch.randn(20, 1, 28, 28, generator=torch.Generator().manual_seed(s)) for s in range(4)]
    expected = [torch.autograd.grad(mine(x).square().sum(), list(mine.parameters())) for x in batches]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            found = torch.autograd.grad(mine(batches[number]).square().sum(), list(mine.parameters()))
            if not all(torch.equal(one, other) for one, other in zip(found, expected[number], strict=True)):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_weight_changed_between_the_passes_is_told() -> None:
    mine = model("one pixel", "numba")
    y = mine(images("one pixel"))
    with torch.no_grad():
        mine[0].weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.usefixtures("no_detour")
def test_a_layer_by_itself_goes_straight_to_its_kernels_too(dtype: torch.dtype) -> None:
    # Compiled code knows calls of smaller images.
    x = torch.randn(2, 4, 181, 160, dtype=dtype, requires_grad=True)
    layer = Conv2d(4, 6, 3, 2, 1, groups=2, backend="numba").to(dtype)
    block = ConvBlock2d(4, 6, 3, padding=1, activation="tanh", pool="max", backend="numba").to(dtype)
    for one in (layer, block):
        y = one(x)
        assert type(y.grad_fn).__name__ == "_BlockBackward"
        theirs = separate(Sequential(one))
        exact = x.detach().double().requires_grad_()
        grad = torch.randn_like(y)
        found = torch.autograd.grad(y, [x, *one.parameters()], grad)
        expected = torch.autograd.grad(theirs(exact), [exact, *theirs.parameters()], grad.double())
        for mine, other in zip(found, expected, strict=True):
            assert_near(mine, other)
    w, b = layer.weight, layer.bias
    with mock.patch.object(chain_autograd, "apply", wraps=chain_autograd.apply) as runs:
        fastconv.conv2d(x, w, b, 2, 1, groups=2, backend="numba")
        fastconv.conv2d(x[0], w, None, 2, 1, groups=2, backend="numba")
        assert runs.call_count == 2
        with pytest.raises(RuntimeError, match="bias"):
            fastconv.conv2d(x, w, w.new_zeros(5), 2, 1, groups=2, backend="numba")
        with pytest.raises(RuntimeError, match="data type"):
            fastconv.conv2d(x, w.to(torch.bfloat16), b, 2, 1, groups=2, backend="numba")
        fastconv.conv2d(x, w, b, 2, 1, groups=2, backend="im2col")
        assert runs.call_count == 2
