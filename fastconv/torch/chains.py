"""Layers that follow one another, as one step forwards and one backwards, where their backend has such a step.

A layer's call costs some 100 us of interpreter, dispatcher and sleeping helpers each way, as much as the smaller layers
of LeNet-5 compute. Blocks in a chain leave their results to one another inside compiled code, and autograd sees one
node. What is between them is kept for the backward pass in one piece of memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.autograd import Function

from fastconv import registry
from fastconv.arguments import make_conv_geometry, make_pool_geometry
from fastconv.backends.base import Backend
from fastconv.backends.block import Activation, Block, Pooling
from fastconv.backends.chain import Chain, Gradients, Operands
from fastconv.errors import ArgumentError
from fastconv.geometry import ConvParameters, PoolParameters
from fastconv.torch.internals import (
    apply_directly,
    has_global_hooks,
    in_forward_mode,
    in_mode,
    in_trace,
    in_transform,
    is_zerotensor,
)
from fastconv.torch.memory import as_it_was, has_storage, is_held
from fastconv.torch.ops import layout_of
from fastconv.torch.separate import gradients_again, separately

Tensor = torch.Tensor

POINT = ConvParameters((1, 1), (0, 0, 0, 0), (1, 1), 1)
"""A linear layer's parameters: it convolves images of one pixel."""

_PAIRS = PoolParameters((2, 2), (2, 2), (0, 0), (1, 1))
DTYPES: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.uint8: np.dtype(np.uint8),
}
"""NumPy's types for torch's."""
_COMPUTED = (torch.float32, torch.float64)


class Stage(NamedTuple):
    """A block before the images' shape is known."""

    weight: tuple[int, ...]
    """(K, C / G, R, S), or a linear layer's (K, C)."""
    how: ConvParameters
    activation: Activation | None
    pool: Pooling | None
    residual: bool = False


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


def is_plain(x: Tensor) -> bool:
    """Returns True if a chain may take a tensor, judged by the tensor and by the modes that are on."""
    return (
        type(x) is Tensor
        and x.ndim == 4
        and x.dtype in _COMPUTED
        and x.is_cpu
        and x.is_contiguous()
        and layout_of(x) is torch.contiguous_format
        and not torch.is_autocast_enabled("cpu")
        and is_undisturbed()  # a transform's tensors have no memory
        and not x.is_neg()
        and is_held(x)
        and not has_global_hooks()
    )


def is_undisturbed() -> bool:
    """Returns True if no transform, tracer or mode takes part: tensors hold numbers, and calls compute."""
    return (
        not torch.compiler.is_compiling()
        and not in_transform()
        and not in_forward_mode()
        and not in_trace()
        and not in_mode()
    )


def single(
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    residual: Tensor | None,
    how: ConvParameters,
    activation: Activation | None,
    pool: Pooling | None,
    backend: str | None,
) -> Tensor | None:
    """Returns the result of one block, or None if no chain can compute it."""
    if not is_plain(x):
        return None
    stages = (Stage(tuple(w.shape), how, activation, pool, residual is not None),)
    residuals = [] if residual is None else [residual]
    run = run_of(registry.resolve(backend), x, stages, [w, b], residuals, flat=False, layers=1)
    return None if run is None else apply(run, x)


def run_of(
    backend: Backend,
    x: Tensor,
    stages: tuple[Stage, ...],
    parameters: list[Tensor | None],
    residuals: Sequence[Tensor] = (),
    *,
    flat: bool,
    layers: int,
) -> Run | None:
    """Returns the run that does the stages on ``x``, which `is_plain`, or None if the backend has no chain for them.

    Args:
        parameters: each stage's weight and bias.
        residuals: those of the stages that have one.
        flat: whether the result is (N, features).
        layers: the number of layers that the stages do.
    """
    for number, stage in enumerate(stages):
        w, b = parameters[2 * number : 2 * number + 2]
        if w is None or not is_alike(w, x) or not (b is None or (is_alike(b, x) and b.shape == stage.weight[:1])):
            return None
        if w.ndim == 4 and layout_of(w) is not torch.contiguous_format:
            return None
    found = _chain(backend, DTYPES[x.dtype], tuple(x.shape), stages)
    if found is None:
        return None
    N, K, P, Q = found.blocks[-1].result_shape
    run = Run(found, parameters, (N, K * P * Q) if flat else (N, K, P, Q), layers, backend.name)
    return with_residuals(run, x, residuals)


def with_residuals(run: Run, x: Tensor, residuals: Sequence[Tensor]) -> Run | None:
    """Returns a run, which has none, with the residuals of its blocks; None if they don't fit."""
    if not residuals:
        return run
    wanted = [block.geometry.output_shape for block in run.chain.blocks if block.residual]
    for residual, shape in zip(residuals, wanted, strict=True):
        if not is_plain(residual) or residual.dtype is not x.dtype or tuple(residual.shape) != shape:
            return None
    return run._replace(parameters=[*run.parameters, *residuals])


def apply(run: Run, x: Tensor) -> Tensor:
    """Returns the result of the layers."""
    wanted = x.requires_grad or any(p is not None and p.requires_grad for p in run.parameters)
    if torch.is_grad_enabled() and wanted:
        function = _Chained if len(run.chain.blocks) > 1 else _Block
        result: Tensor = apply_directly(function, run, x, *run.parameters)
        return result
    return _forward(run, x, run.parameters, None)[0]


def _forward(run: Run, x: Tensor, parameters: Sequence[Tensor | None], saved: Tensor | None) -> tuple[Tensor, bool]:
    """Returns the layers' result, and False if numbers that aren't finite made the functions compute it one by one."""
    result = _empty(run.chain, run.shape, x.dtype)
    count = 2 * len(run.chain.blocks)
    if run.chain.forward(Operands(x, parameters[:count], result, saved, parameters[count:])):
        return result, True
    with torch.no_grad():
        result.copy_(_separately(run.chain, run.shape, run.backend, x, *parameters))
    return result, False


def is_alike(parameter: Tensor, x: Tensor) -> bool:
    """Returns True if compiled code may read a parameter beside images ``x``, which are plain."""
    return (
        parameter.dtype is x.dtype
        and parameter.is_cpu
        and parameter.is_contiguous()
        and not parameter.is_neg()
        and is_held(parameter)
        and type(parameter) in (nn.Parameter, Tensor)
    )


@lru_cache(maxsize=4096)
def _chain(backend: Backend, dtype: Any, image: tuple[int, ...], stages: tuple[Stage, ...]) -> Chain | None:
    """Returns the chain of the stages, or None if they don't fit one another, which the layers' own calls will say."""
    blocks: list[Block] = []
    shape = image
    for stage in stages:
        weight = stage.weight
        if len(weight) == 2:
            shape, weight = (shape[0], math.prod(shape[1:]), 1, 1), (*weight, 1, 1)
        try:
            g = make_conv_geometry(shape, weight, None, stage.how)
            if stage.pool is not None:
                make_pool_geometry(g.output_shape, _PAIRS)
        except ArgumentError:
            return None
        blocks.append(Block(g, stage.activation, stage.pool, stage.residual))
        shape = blocks[-1].result_shape
    return backend.chain(tuple(blocks), dtype)


def _empty(chain: Chain, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Returns a tensor without content."""
    return torch.from_numpy(chain.empty(shape, DTYPES[dtype]))


def version(x: Tensor | None) -> int:
    """Returns how often a tensor was changed in place."""
    return 0 if x is None or x.is_inference() else x._version


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
            return None, *_backward_again(ctx, grad)
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
        return None, *(found if finite else _backward_again(ctx, grad))


def _backward_again(ctx: Any, grad: Tensor) -> list[Tensor | None]:
    """Returns the gradients by functions that have gradients of any order, and keep infinities where they belong."""
    _check_unchanged(ctx)
    run, (x, *rest) = ctx.run, ctx.saved_tensors
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
