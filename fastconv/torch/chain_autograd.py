"""The gradients of a chain, as one `torch.autograd.Function` whose backward pass is one step too.

What is between the blocks is kept for the backward pass in one piece of memory. Gradients of gradients, and numbers
that aren't finite, go layer by layer (separate.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.autograd import Function

from fastconv.backends.chain import Chain, Gradients, Operands
from fastconv.torch.internals import apply_directly, is_undisturbed, is_zerotensor
from fastconv.torch.memory import DTYPES, as_it_was, has_storage, version
from fastconv.torch.separate import gradients_again, separately

Tensor = torch.Tensor


class Run(NamedTuple):
    """Layers of a sequence that are one step."""

    chain: Chain
    parameters: list[Tensor | None]
    """Each block's weight and bias, and then the residuals of the blocks that have one."""
    shape: tuple[int, ...]
    """The shape of the result."""
    layers: int
    """The number of layers that the run replaces."""
    backend: str


def apply(run: Run, x: Tensor) -> Tensor:
    """Returns the result of the layers."""
    wanted = x.requires_grad or any(p is not None and p.requires_grad for p in run.parameters)
    if torch.is_grad_enabled() and wanted:
        function = _Chained if len(run.chain.blocks) > 1 else _Block
        result: Tensor = apply_directly(function, run, x, *run.parameters)
        return result
    return _forward(run, x, run.parameters, None)[0]


def gradients_of(run: Run, x: Tensor, change: Callable[[Tensor], Tensor]) -> list[Tensor | None] | None:
    """Returns the gradients of the run's parameters, without autograd and its visits to each of them.

    Returns None where numbers that aren't finite may have spread: autograd, which `apply` serves, must then do it all.

    Args:
        run: layers without residuals, all of whose parameters want gradients.
        x: the images, which want none.
        change: returns the gradient of the run's result, which it gets.
    """
    chain, parameters = run.chain, run.parameters
    saved = _empty(chain, (chain.saved_bytes,), torch.uint8) if chain.saved_bytes else None
    at = Operands(x, parameters, _empty(chain, run.shape, x.dtype), saved)
    if not chain.forward(at):
        return None
    found = [None if p is None else _empty(chain, p.shape, p.dtype) for p in parameters]
    return found if chain.backward(at, Gradients(change(at.result), None, found)) else None


def _forward(run: Run, x: Tensor, parameters: Sequence[Tensor | None], saved: Tensor | None) -> tuple[Tensor, bool]:
    """Returns the layers' result, and False if numbers that aren't finite made the functions compute it one by one."""
    result = _empty(run.chain, run.shape, x.dtype)
    count = 2 * len(run.chain.blocks)
    if run.chain.forward(Operands(x, parameters[:count], result, saved, parameters[count:])):
        return result, True
    with torch.no_grad():
        result.copy_(_separately(run.chain, run.shape, run.backend, x, *parameters))
    return result, False


def _empty(chain: Chain, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Returns a tensor without content."""
    return torch.from_numpy(chain.empty(shape, DTYPES[dtype]))


class _Chained(Function):
    @staticmethod
    def forward(ctx: Any, run: Run, x: Tensor, *parameters: Tensor | None) -> Tensor:
        chain = run.chain
        # Each tensor that is saved costs 3 us of the two passes, so one of no bytes is not made.
        memory = [_empty(chain, (chain.saved_bytes,), torch.uint8)] if chain.saved_bytes else []
        result, ctx.finite = _forward(run, x, parameters, memory[0] if memory else None)
        ctx.run = run._replace(parameters=[])
        # No gradient reads a bias or a residual, and torch saves neither, so they may change between the passes.
        weights, ctx.others = _apart(parameters, len(chain.blocks))
        ctx.versions = [version(other) for other in ctx.others]
        saved = [x, *weights, *memory]
        ctx.pooled = None
        if chain.reads_result:
            # Without pooling torch saves the result too. A pooled one may be changed in place, since in torch the
            # activation has a result of its own; then it is computed again.
            if chain.blocks[-1].pool is None:
                saved.append(result)
            else:
                ctx.pooled = result.detach()
                ctx.pooled_version = version(ctx.pooled)
        ctx.save_for_backward(*saved)
        ctx.forms = [(each.shape, each.dtype) for each in saved]
        ctx.set_materialize_grads(False)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> Any:
        run, count = ctx.run, len(ctx.run.chain.blocks)
        if grad is None:
            return None, None, *[None] * (count + len(ctx.others))
        saved, wanted = ctx.saved_tensors, ctx.needs_input_grad[1:]
        if torch.is_grad_enabled() or not ctx.finite or not is_undisturbed() or not has_storage(grad):
            return None, *_backward_again(ctx, grad, saved)
        x, *rest = [as_it_was(each, *form) for each, form in zip(saved, ctx.forms, strict=True)]
        parameters, further = _in_turn(rest[:count], ctx.others), rest[count:]
        memory = further.pop(0) if run.chain.saved_bytes else None
        result = further[0] if further else ctx.pooled
        if ctx.pooled is not None and version(ctx.pooled) != ctx.pooled_version:
            _check_unchanged(ctx)
            result, _ = _forward(run, x, parameters, None)
        if not grad.is_contiguous() or grad.is_neg() or is_zerotensor(grad):
            grad = as_it_was(grad, run.shape, x.dtype)
        found = [
            _empty(run.chain, t.shape, t.dtype) if t is not None and want else None
            for t, want in zip((x, *parameters), wanted, strict=True)
        ]
        finite = run.chain.backward(
            Operands(x, parameters[: 2 * count], result, memory, parameters[2 * count :]),
            Gradients(grad, found[0], found[1 : 1 + 2 * count], found[1 + 2 * count :]),
        )
        return None, *(found if finite else _backward_again(ctx, grad, saved))


def _backward_again(ctx: Any, grad: Tensor, saved: Sequence[Tensor]) -> list[Tensor | None]:
    """Returns the gradients by functions that have gradients of any order, and keep infinities where they belong.

    ``saved`` are the saved tensors: hooks that compute them again, as checkpoints do, give them once.
    """
    _check_unchanged(ctx)
    run, (x, *rest) = ctx.run, saved
    operands = x, *_in_turn(rest[: len(run.chain.blocks)], ctx.others)
    return gradients_again(
        partial(_separately, run.chain, run.shape, run.backend), operands, grad, ctx.needs_input_grad[1:]
    )


class _Block(_Chained):
    """A chain of one block, under a name of its own for profiles."""


def _apart(parameters: Sequence[Tensor | None], blocks: int) -> tuple[list[Tensor], list[Tensor | None]]:
    """Returns the weights of some blocks, and the rest: their biases, and then a residual if there is one."""
    weights = [weight for weight in parameters[: 2 * blocks : 2] if weight is not None]
    return weights, [*parameters[1 : 2 * blocks : 2], *parameters[2 * blocks :]]


def _in_turn(weights: Sequence[Tensor], others: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Returns the parameters that `_apart` took apart."""
    pairs = zip(weights, others[: len(weights)], strict=True)
    return [*[each for pair in pairs for each in pair], *others[len(weights) :]]


def _check_unchanged(ctx: Any) -> None:
    """Refuse to compute results again with a bias or a residual that is no longer what it was."""
    blocks = len(ctx.run.chain.blocks)
    for number, (other, before) in enumerate(zip(ctx.others, ctx.versions, strict=True)):
        if version(other) != before:
            raise RuntimeError(
                f"{'bias' if number < blocks else 'residual'}: it has been modified by an inplace operation since the "
                "forward pass, and this gradient computes the layer's results again; change it after the backward pass"
            )


def _separately(chain: Chain, shape: tuple[int, ...], backend: str, x: Tensor, *parameters: Tensor | None) -> Tensor:
    """Returns the result by functions that have gradients of any order."""
    y = x
    residuals = iter(parameters[2 * len(chain.blocks) :])
    for number, block in enumerate(chain.blocks):
        g = block.geometry
        w, b = parameters[2 * number : 2 * number + 2]
        assert w is not None
        how = g.stride, g.padding, g.dilation, g.groups, backend
        residual = next(residuals) if block.residual else None
        y, w = y.reshape(g.input_shape), w.reshape(g.weight_shape)
        y = separately(y, w, b, residual, block.activation, block.pool, *how)
    return y.reshape(shape)
