"""Layers that follow one another, as one step forwards and one backwards, where their backend has such a step.

A layer's call costs some 100 us of interpreter, dispatcher and sleeping helpers each way, as much as the smaller layers
of LeNet-5 compute. Blocks in a chain leave their results to one another inside compiled code, and autograd sees one
node. What is between them is kept for the backward pass in one piece of memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.autograd import Function, forward_ad
from torch.nn.modules import module as hooks

from fastconv import registry
from fastconv.arguments import make_conv_geometry, make_pool_geometry
from fastconv.backends.base import Backend
from fastconv.backends.block import Activation, Block, Pooling
from fastconv.backends.chain import Chain, Gradients, Operands
from fastconv.errors import ArgumentError
from fastconv.geometry import ConvParameters, PoolParameters
from fastconv.torch.autograd import separately
from fastconv.torch.ops import layout_of

Tensor = torch.Tensor

_PAIRS = PoolParameters((2, 2), (2, 2), (0, 0), (1, 1))
_DTYPES: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.uint8: np.dtype(np.uint8),
}
_COMPUTED = (torch.float32, torch.float64)


class Stage(NamedTuple):
    """A block before the images' shape is known."""

    weight: tuple[int, ...]
    """(K, C / G, R, S), or a linear layer's (K, C)."""
    how: ConvParameters
    activation: Activation | None
    pool: Pooling | None


class Run(NamedTuple):
    """Layers of a sequence that are one step."""

    chain: Chain
    parameters: list[Tensor | None]
    """Each block's weight and bias."""
    shape: tuple[int, ...]
    """Of the result."""
    layers: int
    """How many they are."""
    backend: str

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor without content."""
        return torch.from_numpy(self.chain.empty(shape, _DTYPES[dtype]))


def is_plain(x: Tensor) -> bool:
    """Whether a chain may take a tensor, as far as can be told from it and from what is going on."""
    return (
        not torch.compiler.is_compiling()
        and type(x) is Tensor
        and x.ndim == 4
        and x.dtype in _COMPUTED
        and x.device.type == "cpu"
        and x.is_contiguous()
        and layout_of(x) is torch.contiguous_format
        and not x.is_neg()
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        and torch._C._get_tracing_state() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._len_torch_function_stack() == 0
        and forward_ad._current_level < 0
        and not hooks._has_any_global_hook()
    )


def single(
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    how: ConvParameters,
    activation: Activation | None,
    pool: Pooling | None,
    backend: str | None,
) -> Tensor | None:
    """The result of one block; None where that isn't for a chain to give."""
    if not is_plain(x):
        return None
    stages = (Stage(tuple(w.shape), how, activation, pool),)
    run = run_of(registry.resolve(backend), x, stages, [w, b], flat=False, layers=1)
    return None if run is None else apply(run, x)


def run_of(
    backend: Backend, x: Tensor, stages: tuple[Stage, ...], parameters: list[Tensor | None], *, flat: bool, layers: int
) -> Run | None:
    """The run that does the stages on ``x``, which `is_plain`; None where they are none for a chain of the backend.

    Args:
        parameters: each stage's weight and bias.
        flat: whether the result is (N, features).
        layers: what they are the work of.
    """
    for number, stage in enumerate(stages):
        w, b = parameters[2 * number : 2 * number + 2]
        if w is None or not _is_alike(w, x) or not (b is None or (_is_alike(b, x) and b.shape == stage.weight[:1])):
            return None
        if w.ndim == 4 and layout_of(w) is not torch.contiguous_format:
            return None
    found = _chain(backend, _DTYPES[x.dtype], tuple(x.shape), stages)
    if found is None:
        return None
    N, K, P, Q = found.blocks[-1].result_shape
    return Run(found, parameters, (N, K * P * Q) if flat else (N, K, P, Q), layers, backend.name)


def apply(run: Run, x: Tensor) -> Tensor:
    """The result of the layers."""
    wanted = x.requires_grad or any(p is not None and p.requires_grad for p in run.parameters)
    if torch.is_grad_enabled() and wanted:
        function = _Chained if len(run.chain.blocks) > 1 else _Block
        result: Tensor = super(Function, function).apply(run, x, *run.parameters)[0]
        return result
    result = run.empty(run.shape, x.dtype)
    run.chain.forward(Operands(x.data_ptr(), _addresses(run.parameters), result.data_ptr(), 0))
    return result


def _is_alike(parameter: Tensor, x: Tensor) -> bool:
    return (
        parameter.dtype is x.dtype
        and parameter.device.type == "cpu"
        and parameter.is_contiguous()
        and type(parameter) in (nn.Parameter, Tensor)
    )


@lru_cache(maxsize=4096)
def _chain(backend: Backend, dtype: Any, image: tuple[int, ...], stages: tuple[Stage, ...]) -> Chain | None:
    """The chain of the stages; None where they don't fit one another, which the layers' own calls will say."""
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
        blocks.append(Block(g, stage.activation, stage.pool))
        shape = blocks[-1].result_shape
    return backend.chain(tuple(blocks), dtype)


def _addresses(tensors: Sequence[Tensor | None]) -> list[int]:
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]


class _Chained(Function):
    @staticmethod
    def forward(ctx: Any, run: Run, x: Tensor, *parameters: Tensor | None) -> tuple[Tensor, Tensor]:
        """The result, and what its gradient needs besides."""
        result = run.empty(run.shape, x.dtype)
        kept = run.empty((run.chain.kept_bytes,), torch.uint8)
        run.chain.forward(Operands(x.data_ptr(), _addresses(parameters), result.data_ptr(), kept.data_ptr()))
        ctx.run = run
        ctx.save_for_backward(x, *parameters, result, kept)
        ctx.mark_non_differentiable(kept)
        ctx.set_materialize_grads(False)
        return result, kept

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Any) -> Any:
        run: Run = ctx.run
        if grad is None:
            return None, None, *[None] * len(run.parameters)
        x, *parameters, result, kept = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            return None, *_again(run, x, parameters, grad, wanted)
        found = [
            run.empty(t.shape, t.dtype) if want else None for t, want in zip((x, *parameters), wanted, strict=True)
        ]
        for_x, *gradients = _addresses(found)
        grad = grad.contiguous().resolve_neg()
        run.chain.backward(
            Operands(x.data_ptr(), _addresses(parameters), result.data_ptr(), kept.data_ptr()),
            Gradients(grad.data_ptr(), for_x, gradients),
        )
        return None, *found


class _Block(_Chained):
    """A chain of one, under a name of its own for profiles."""


def _again(run: Run, x: Tensor, parameters: list[Tensor], grad: Tensor, wanted: Sequence[bool]) -> list[Any]:
    """Gradients that have gradients themselves."""
    y = x
    for number, block in enumerate(run.chain.blocks):
        g = block.geometry
        w, b = parameters[2 * number : 2 * number + 2]
        how = g.stride, g.padding, g.dilation, g.groups, run.backend
        y = separately(y.reshape(g.input_shape), w.reshape(g.weight_shape), b, block.activation, block.pool, *how)
    operands = [each for each, want in zip((x, *parameters), wanted, strict=True) if want]
    found = iter(torch.autograd.grad(y.reshape(run.shape), operands, grad, create_graph=True))
    return [next(found) if want else None for want in wanted]
