"""Blocks of convolution, activation and pooling: torch's results and gradients, on every backend"""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as reference
from torch import nn

import fastconv
from fastconv.backends.block import Activation
from fastconv.backends.numba_cpu.fused import lowering as blocks
from fastconv.geometry import ConvGeometry
from fastconv.torch import ConvBlock2d, conv2d_block
from fastconv.torch.separate import activated
from tests.probes import by_fast_way, needs_fast_way

ACTIVATIONS = ["relu", "tanh", None]
POOLS = ["max", "avg", None]


def separately(
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None,
    activation: str | None,
    pool: str | None,
    residual: torch.Tensor | None = None,
    **how: Any,
) -> torch.Tensor:
    y = reference.conv2d(x, w, b, **how)
    y = y if residual is None else y + residual
    if activation is not None:
        y = activated(y, activation)
    return y if pool is None else getattr(reference, f"{pool}_pool2d")(y, 2)


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


def assert_close(actual: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    tolerance = {torch.float64: 1e-11, torch.float32: 1e-5}[dtype]
    assert actual.shape == expected.shape
    assert actual.dtype == dtype
    scale = float(expected.detach().abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=tolerance * scale)


GEOMETRIES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((3, 4, 9, 11), (6, 4, 3, 3), {"padding": 1}),
    ((2, 3, 12, 7), (4, 3, 5, 2), {"stride": (1, 2), "padding": (2, 1)}),
    ((2, 4, 8, 8), (6, 2, 3, 3), {"groups": 2, "dilation": 2}),
    ((5, 2, 4, 4), (3, 2, 4, 4), {"padding": (1, 1)}),
    ((3, 2, 2, 2), (5, 2, 1, 1), {}),
    ((0, 3, 6, 6), (2, 3, 3, 3), {}),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("image", "kernel", "how"), GEOMETRIES, ids=str)
def test_results_and_gradients_are_those_of_the_separate_layers(
    image: tuple[int, ...],
    kernel: tuple[int, ...],
    how: dict[str, Any],
    activation: Any,
    pool: Any,
    dtype: torch.dtype,
    backend: str,
) -> None:
    # Small, so that tanh is not so near to 1 that rounding makes equal what max pooling tells apart.
    operands = [
        (0.1 * draw(*image, dtype=dtype)).detach().requires_grad_(),
        draw(*kernel, dtype=dtype, seed=2),
        draw(kernel[0], dtype=dtype, seed=3),
    ]
    exact = [each.detach().double().requires_grad_() for each in operands]
    y = conv2d_block(*operands, **how, activation=activation, pool=pool, backend=backend)
    expected = separately(*exact, activation, pool, **how)
    assert_close(y, expected, dtype)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(4), dtype=dtype)
    found = torch.autograd.grad(y, operands, grad)
    for mine, theirs in zip(found, torch.autograd.grad(expected, exact, grad.double()), strict=True):
        assert_close(mine, theirs, dtype)
    with torch.no_grad():
        assert torch.equal(conv2d_block(*operands, **how, activation=activation, pool=pool, backend=backend), y)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("activation", [*get_args(Activation), None])
def test_every_activation_with_and_without_a_residual(
    activation: Any, adds: bool, pool: Any, dtype: torch.dtype
) -> None:
    for image, kernel, how in GEOMETRIES:
        # Small, as above.
        x = (0.1 * draw(*image, dtype=dtype)).detach().requires_grad_()
        w, b = draw(*kernel, dtype=dtype, seed=2), draw(kernel[0], dtype=dtype, seed=3)
        shape = reference.conv2d(x, w, **how).shape
        more = [draw(*shape, dtype=dtype, seed=4)] if adds else []
        operands = [x, w, b, *more]
        exact = [each.detach().double().requires_grad_() for each in operands]

        def block(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, *more: torch.Tensor, how: Any = how) -> Any:
            residual = more[0] if more else None
            return conv2d_block(x, w, b, **how, activation=activation, pool=pool, residual=residual, backend="numba")

        y, expected = block(*operands), separately(*exact[:3], activation, pool, *exact[3:], **how)
        assert_close(y, expected, dtype)
        assert x.numel() == 0 or (type(y.grad_fn).__name__ == "_BlockBackward") == by_fast_way(True)
        grad = draw(*y.shape, dtype=dtype, seed=5).detach()
        for wanted in (range(len(operands)), [len(operands) - 1], [0], [1, 2]):
            found = torch.autograd.grad(y, [operands[i] for i in wanted], grad, retain_graph=True)
            right = torch.autograd.grad(expected, [exact[i] for i in wanted], grad.double(), retain_graph=True)
            for mine, theirs in zip(found, right, strict=True):
                assert_close(mine, theirs, dtype)
        with torch.no_grad():
            assert torch.equal(block(*operands), y)


def test_a_residual_of_another_shape_is_refused(backend: str) -> None:
    x, w = draw(2, 3, 6, 6), draw(4, 3, 3, 3)
    for shape in ((2, 4, 4, 1), (4, 4, 4), (2, 4, 6, 6)):
        with pytest.raises(RuntimeError, match=r"residual: got shape .* \(2, 4, 4, 4\), the shape of"):
            conv2d_block(x, w, residual=draw(*shape), backend=backend)
    with pytest.raises(TypeError, match="residual"):
        conv2d_block(x, w, residual=3.0, backend=backend)  # type: ignore[arg-type]
    alone = conv2d_block(x[0], w, residual=torch.ones(4, 4, 4), backend=backend)
    torch.testing.assert_close(alone, separately(x, w, None, "relu", None, torch.ones(1, 4, 4, 4))[0])


@needs_fast_way  # the activation by itself doesn't read the residual again
def test_a_residual_changed_before_gradients_of_gradients_is_told() -> None:
    x, w, residual = draw(1, 2, 5, 5), draw(3, 2, 2, 2), draw(1, 3, 4, 4).detach()
    y = conv2d_block(x, w, residual=residual, activation="silu", backend="numba")
    first = torch.autograd.grad(y.sum(), x, retain_graph=True)[0]
    residual += 1
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x, retain_graph=True)[0], first)
    with pytest.raises(RuntimeError, match="residual: it has been modified by an inplace operation"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


@pytest.mark.parametrize("pool", ["max", "avg"])
@pytest.mark.parametrize("activation", [*get_args(Activation), None])
def test_a_batch_of_several_slabs(activation: Any, pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that go through a few at a time, the last ones fewer, and none of a gradient that isn't wanted."""
    monkeypatch.setattr(blocks, "SLAB_BYTES", 3 * 4 * 8 * 10 * 8)
    blocks.slabs.cache_clear()
    slabs = blocks.slabs(ConvGeometry(7, 2, 8, 10, 4, 3, 3, padding=(1, 1, 1, 1)), 8)
    assert [conv.N for _, conv in slabs] == [3, 3, 1]
    x, w, b = draw(7, 2, 8, 10), draw(4, 2, 3, 3, seed=2), draw(4, seed=3)
    z = draw(7, 4, 8, 10, seed=6)
    y = conv2d_block(x, w, b, padding=1, activation=activation, pool=pool, residual=z, backend="numba")
    expected = separately(x, w, b, activation, pool, z, padding=1)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    grad = draw(*y.shape, seed=5).detach()
    for wanted in ([x, w, b, z], [w], [x], [b], [z], [x, w]):
        mine, theirs = (torch.autograd.grad(each, wanted, grad, retain_graph=True) for each in (y, expected))
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)
    blocks.slabs.cache_clear()


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_special_values_travel_as_through_the_separate_layers(
    value: float, activation: Any, pool: Any, backend: str
) -> None:
    x, w = draw(2, 3, 8, 8).detach(), draw(4, 3, 3, 3, seed=2).detach()
    for where in ((0, 0, 0, 0), (1, 1, 4, 5), (1, 2, 7, 7)):
        changed = x.clone()
        changed[where] = value
        changed.requires_grad_()
        y = conv2d_block(changed, w, padding=1, activation=activation, pool=pool, backend=backend)
        expected = separately(changed, w, None, activation, pool, padding=1)
        torch.testing.assert_close(y, expected, equal_nan=True)
        grad = draw(*y.shape, seed=5).detach()
        mine, theirs = (torch.autograd.grad(each, changed, grad)[0] for each in (y, expected))
        # What max pooling has not taken gets no gradient; tanh's derivative makes NaN of that where its result is NaN.
        untaken = theirs.isnan() & (torch.tensor(pool == "max" and activation == "tanh"))
        torch.testing.assert_close(mine[~untaken], theirs[~untaken], equal_nan=True)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_gradients(activation: Any, pool: Any) -> None:
    def block(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return conv2d_block(x, w, b, activation=activation, pool=pool, residual=z, backend="numba")

    operands = draw(2, 2, 5, 6), draw(3, 2, 2, 3, seed=2), draw(3, seed=3), draw(2, 3, 4, 4, seed=4)
    assert torch.autograd.gradcheck(block, operands)
    assert torch.autograd.gradgradcheck(block, operands)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
def test_halves_are_computed_in_float32(half: torch.dtype, backend: str) -> None:
    x, w = draw(2, 3, 8, 8, dtype=torch.float32).to(half), draw(4, 3, 3, 3, dtype=torch.float32, seed=2).to(half)
    for pool in ("max", "avg"):
        y = conv2d_block(x, w, activation="relu", pool=pool, backend=backend)  # type: ignore[arg-type]
        expected = separately(x.double(), w.double(), None, "relu", pool)
        assert y.dtype == half
        torch.testing.assert_close(y.double(), expected, rtol=1e-2, atol=1e-2)


def test_unbatched_and_channels_last(backend: str) -> None:
    x, w = draw(3, 8, 8).detach(), draw(4, 3, 3, 3, seed=2).detach()
    y = conv2d_block(x, w, pool="max", backend=backend)
    torch.testing.assert_close(y, separately(x[None], w, None, "relu", "max")[0])
    batch = draw(2, 3, 8, 8).detach().to(memory_format=torch.channels_last)
    y = conv2d_block(batch, w, pool="avg", backend=backend)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, separately(batch, w, None, "relu", "avg"))


def test_wrong_arguments_are_refused() -> None:
    x, w = draw(1, 1, 4, 4), draw(1, 1, 3, 3)
    with pytest.raises(ValueError, match="activation"):
        conv2d_block(x, w, activation="elu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pool"):
        conv2d_block(x, w, pool="min")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="activation"):
        ConvBlock2d(1, 1, 3, activation="elu")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="a window of"):
        conv2d_block(x, draw(1, 1, 4, 4), pool="max", backend="numba")
    with pytest.raises(RuntimeError, match="data type"):
        conv2d_block(x, w.float(), pool="max")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiles_to_one_graph() -> None:
    torch._dynamo.reset()
    block = ConvBlock2d(1, 3, 3, pool="max", backend="numba")
    x = draw(2, 1, 8, 8, dtype=torch.float32).detach()
    compiled = torch.compile(block, fullgraph=True)
    y = compiled(x)
    torch.testing.assert_close(y, block(x))
    y.sum().backward()
    assert block.weight.grad is not None
    (expected,) = torch.autograd.grad(block(x).sum(), [block.weight])
    torch.testing.assert_close(block.weight.grad, expected)


def test_a_block_made_by_hand_is_a_convolution_to_everyone_else() -> None:
    block, plain = ConvBlock2d(2, 3, 3, padding=1, pool="avg", backend="numba"), nn.Conv2d(2, 3, 3, padding=1)
    plain.load_state_dict(block.state_dict())
    x = draw(2, 2, 6, 6, dtype=torch.float32).detach()
    torch.testing.assert_close(block(x), reference.avg_pool2d(plain(x).relu(), 2))
    assert "activation='relu', pool='avg'" in str(block)
    assert fastconv.torch.ConvBlock2d is ConvBlock2d


def test_a_gradient_that_is_not_finite_through_a_checkpoint() -> None:
    """The hooks of a checkpoint give each saved tensor once."""
    block = ConvBlock2d(32, 32, 3).double()
    grad = draw(2, 32, 14, 14, seed=3).detach()
    grad[0, 1, 2, 3] = torch.inf
    found = []
    for call in (block, lambda x: torch.relu(reference.conv2d(x, block.weight, block.bias))):
        x = draw(2, 32, 16, 16)
        y = torch.utils.checkpoint.checkpoint(call, x, use_reentrant=False)
        found.append(torch.autograd.grad(y, [x, *block.parameters()], grad))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, equal_nan=True)
