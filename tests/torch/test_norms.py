"""Batch normalisation as one step: torch's results, gradients and running statistics, for all that may follow it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

import fastconv
from fastconv.backends.block import ACTIVATIONS
from fastconv.torch.norms import Norm, batch_norm
from fastconv.torch.separate import activated
from tests.probes import by_fast_way, needs_fast_way

SHAPES = ((3, 5, 7, 9), (2, 3, 33, 31), (70, 2, 8, 8), (2, 1, 1, 1))
"""Planes shorter and longer than four vectors, channels longer than what is summed at once, one pixel."""


def theirs(norm: Norm, x: Tensor, residual: Any, gamma: Any, beta: Any, mean: Any, var: Any) -> Tensor:
    y = F.batch_norm(x, mean, var, gamma, beta, True, norm.momentum, norm.eps)
    y = y if residual is None else y + residual
    return y if norm.activation is None else activated(y, norm.activation)


def operands(shape: tuple[int, ...], dtype: torch.dtype, *, residual: bool, affine: bool) -> list[Tensor | None]:
    """Returns images away from 0, a residual, gamma and beta, and running statistics."""
    C = shape[1]
    x = torch.randn(shape, dtype=dtype) * 2 + 3
    vectors = [torch.rand(C, dtype=dtype) + 0.5, torch.randn(C, dtype=dtype)] if affine else [None, None]
    running = [torch.ones(C, dtype=dtype), torch.full((C,), 2.0, dtype=dtype)]
    return [x, torch.randn(shape, dtype=dtype) if residual else None, *vectors, *running]


def twice(found: list[Tensor | None]) -> list[Tensor | None]:
    """Returns copies in float64, of which the first four want gradients."""
    copies = [None if each is None else each.detach().double().clone() for each in found]
    return [each if each is None or at > 3 else each.requires_grad_() for at, each in enumerate(copies)]


def gradients(result: Tensor, of: list[Tensor | None], grad: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(result, [each for each in of[:4] if each is not None], grad)


def is_one_step(result: Tensor) -> bool:
    return type(result.grad_fn).__name__ == "_BatchNormBackward"


def assert_near(found: Any, expected: Any, dtype: torch.dtype) -> None:
    rounding = 1e-11 if dtype == torch.float64 else 2e-5
    for one, other in zip(found, expected, strict=True):
        scale = float(other.abs().max()) + 0.1
        torch.testing.assert_close(one.double(), other, rtol=0, atol=rounding * scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
def test_results_and_gradients(activation: Any, residual: bool, dtype: torch.dtype) -> None:
    norm = Norm(0.3, 1e-3, activation)
    # Two pixels are normalised to +-1, and their gradients cancel.
    for shape in SHAPES if dtype == torch.float64 else SHAPES[:-1]:
        for affine in (True, False):
            mine = operands(shape, dtype, residual=residual, affine=affine)
            exact, grad = twice(mine), torch.randn(shape, dtype=dtype)
            mine = [each if each is None or at > 3 else each.requires_grad_() for at, each in enumerate(mine)]
            y, expected = batch_norm(norm, *mine), theirs(norm, *exact)  # type: ignore[arg-type]
            assert is_one_step(y) == by_fast_way(True)
            assert_near([y.detach(), *mine[4:]], [expected.detach(), *exact[4:]], dtype)
            assert_near(gradients(y, mine, grad), gradients(expected, exact, grad.double()), dtype)


def test_only_the_gradients_that_are_wanted() -> None:
    norm = Norm(0.1, 1e-5, "relu")
    for wanted in range(1, 16):
        mine = operands((3, 4, 5, 6), torch.float64, residual=True, affine=True)
        exact = [each if each is None else each.clone() for each in mine]
        for each in (mine, exact):
            for at in range(4):
                each[at].requires_grad_(bool(wanted >> at & 1))  # type: ignore[union-attr]
        results = []
        for function, given in ((batch_norm, mine), (theirs, exact)):
            function(norm, *given).sin().sum().backward()  # type: ignore[operator]
            results.append([each.grad for each in given[:4]])  # type: ignore[union-attr]
        assert [each is None for each in results[0]] == [each is None for each in results[1]]
        assert_near(*[[each for each in found if each is not None] for found in results], torch.float64)


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
def test_gradients_of_gradients(activation: Any) -> None:
    norm = Norm(0.1, 1e-2, activation)
    mine = twice(operands((2, 3, 4, 3), torch.float64, residual=True, affine=True))

    def run(*four: Tensor) -> Tensor:
        return batch_norm(norm, *four, None, None)

    assert torch.autograd.gradcheck(run, mine[:4])
    assert torch.autograd.gradgradcheck(run, mine[:4])


def test_any_number_of_threads_gives_the_same_bits() -> None:
    before = fastconv.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.manual_seed(1)
            fastconv.set_num_threads(count)
            mine = operands((4, 37, 13, 11), torch.float32, residual=True, affine=True)
            mine = [each if each is None or at > 3 else each.requires_grad_() for at, each in enumerate(mine)]
            y = batch_norm(Norm(0.1, 1e-5, "silu"), *mine)  # type: ignore[arg-type]
            found.append([y, *mine[4:], *gradients(y, mine, torch.ones_like(y))])
    finally:
        fastconv.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_in_its_channel(value: float) -> None:
    mine = operands((2, 3, 4, 5), torch.float32, residual=False, affine=True)
    mine[0][1, 1, 2, 3] = value  # type: ignore[index]
    exact = twice(mine)
    y, expected = batch_norm(Norm(0.1, 1e-5, "relu"), *mine), theirs(Norm(0.1, 1e-5, "relu"), *exact)  # type: ignore
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(mine[5].double(), exact[5], rtol=1e-5, atol=1e-5, equal_nan=True)  # type: ignore


def test_where_torch_computes() -> None:
    """Other layouts, types and sizes have torch's results and errors."""
    norm = Norm(0.1, 1e-5, "relu")
    x = torch.randn(2, 3, 4, 5)
    for odd in (x.to(memory_format=torch.channels_last), x.bfloat16(), x[..., ::2], x[0], x[:0]):
        given = odd.detach().requires_grad_()
        y = batch_norm(norm, given, None, None, None, None, None)
        assert not is_one_step(y)
        expected = theirs(norm, given, None, None, None, None, None)
        assert torch.equal(y, expected)
        assert y.stride() == expected.stride()
    with fastconv.use_backend("naive"):
        assert not is_one_step(batch_norm(norm, x.requires_grad_(), None, None, None, None, None))


@pytest.mark.parametrize(
    ("shape", "eps", "says"),
    [((1, 3, 1, 1), 1e-5, "more than 1 value per channel"), ((2, 3, 4, 4), 0.0, "eps must be positive")],
)
def test_errors_are_those_of_torch(shape: tuple[int, ...], eps: float, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        batch_norm(Norm(0.1, eps, None), torch.randn(shape), None, None, None, None, None)


@pytest.mark.parametrize(
    ("which", "activation"),
    [
        ("x", "relu"),
        ("x", None),
        ("result", "relu"),
        # torch's own activations don't read these again.
        pytest.param("residual", "silu", marks=needs_fast_way),
        pytest.param("result", "relu6", marks=needs_fast_way),
    ],
)
def test_what_changes_between_the_passes_is_told(which: str, activation: Any) -> None:
    mine = operands((2, 3, 4, 5), torch.float64, residual=True, affine=True)
    mine = [each if each is None or at > 3 else each.requires_grad_() for at, each in enumerate(mine)]
    y = batch_norm(Norm(0.1, 1e-5, activation), *mine)  # type: ignore[arg-type]
    with torch.no_grad():
        {"x": mine[0], "residual": mine[1], "result": y}[which].add_(1)  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


UNREAD = pytest.mark.parametrize("activation", [None, "relu", "relu6"])
"""Activations behind which no gradient reads a residual."""


@UNREAD
def test_a_residual_that_no_gradient_reads_may_change(activation: Any) -> None:
    norm = Norm(0.1, 1e-5, activation)
    mine = operands((2, 3, 4, 5), torch.float64, residual=True, affine=True)
    mine = [each if each is None or at > 3 else each.requires_grad_() for at, each in enumerate(mine)]
    exact = twice(mine)
    weights = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    found = []
    for function, given in ((batch_norm, mine), (theirs, exact)):
        y = function(norm, *given)  # type: ignore[operator]
        with torch.no_grad():
            given[1].add_(1)  # type: ignore[union-attr]
            given[3].add_(1)  # type: ignore[union-attr]
        first = torch.autograd.grad(y, given[:4], weights, create_graph=True)
        second = torch.autograd.grad(first[0].square().sum() + first[2].sum(), [given[0], given[2]])
        found.append([each.detach() for each in (*first, *second)])
        with torch.no_grad():
            given[1].sub_(1)  # type: ignore[union-attr]
            given[3].sub_(1)  # type: ignore[union-attr]
    assert_near(*found, torch.float64)
    y = batch_norm(norm, *mine)  # type: ignore[arg-type]
    with torch.no_grad():
        mine[1].add_(1)  # type: ignore[union-attr]
    assert_near(gradients(y, mine, weights), found[1][:4], torch.float64)


@UNREAD
def test_a_residual_that_no_gradient_reads_is_not_kept(activation: Any) -> None:
    mine = operands((2, 3, 4, 5), torch.float32, residual=True, affine=True)
    residual = mine[1].requires_grad_() * 2  # type: ignore[union-attr]
    held = StorageWeakRef(residual.untyped_storage())
    y = batch_norm(Norm(0.1, 1e-5, activation), mine[0], residual, *mine[2:])  # type: ignore[arg-type]
    del residual
    assert held.expired()
    y.sum().backward()
