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
from fastconv.arguments import conv_parameters, make_conv_geometry, make_pool_geometry
from fastconv.backends.base import Backend
from fastconv.backends.block import Activation, Block, Pooling
from fastconv.backends.chain import Chain
from fastconv.errors import ArgumentError
from fastconv.geometry import ConvParameters, PoolParameters
from fastconv.torch.blocks import ConvBlock2d, separately
from fastconv.torch.modules import AvgPool2d, Conv2d, MaxPool2d

Tensor = torch.Tensor

_PAIRS = PoolParameters((2, 2), (2, 2), (0, 0), (1, 1))
_POINT = ConvParameters((1, 1), (0, 0, 0, 0), (1, 1), 1)
_DTYPES: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.uint8: np.dtype(np.uint8),
}
_COMPUTED = (torch.float32, torch.float64)
_ACTIVATIONS: dict[type[nn.Module], Activation] = {nn.ReLU: "relu", nn.Tanh: "tanh"}


class _Stage(NamedTuple):
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
        and not x.is_neg()
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        and torch._C._get_tracing_state() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._len_torch_function_stack() == 0
        and forward_ad._current_level < 0
        and not hooks._has_any_global_hook()
    )


def first_run(layers: Sequence[Any], x: Tensor) -> Run | None:
    """The longest run of layers from the first on that is one step for ``x``; None where the first layer begins none.

    A run begins with a convolution. It takes in convolutions on the same backend, activations and poolings that
    directly follow one, and linear layers that follow once the images are flattened.

    Raises what the layers' own calls would, for images that don't fit them.
    """
    stages: list[_Stage] = []
    parameters: list[Tensor | None] = []
    backend: Backend | None = None
    flat, taken = False, 0
    for number, layer in enumerate(layers, 1):
        kind = type(layer)
        if not _is_free(layer):
            break
        if kind is ConvBlock2d or kind is Conv2d:
            own = registry.resolve(layer.backend)
            if flat or layer.padding_mode != "zeros" or own is not (backend or own):
                break
            backend = own
            stages.append(_convolution(layer))
            parameters += layer.weight, layer.bias
        elif kind is nn.Linear and flat:
            stages.append(_Stage(tuple(layer.weight.shape), _POINT, None, None))
            parameters += layer.weight, layer.bias
        elif kind is nn.Flatten and stages and (layer.start_dim, layer.end_dim) == (1, -1):
            flat = True
        elif not stages or not _join(stages, layer, backend, flat=flat):
            break
        taken = number
    if backend is None or not all(p is None or _is_alike(p, x) for p in parameters):
        return None
    found = _chain(backend, _DTYPES[x.dtype], tuple(x.shape), tuple(stages))
    if found is None:
        return None
    N, K, P, Q = found.blocks[-1].result_shape
    return Run(found, parameters, (N, K * P * Q) if flat else (N, K, P, Q), taken, backend.name)


def apply(run: Run, x: Tensor) -> Tensor:
    """The result of the layers."""
    wanted = x.requires_grad or any(p is not None and p.requires_grad for p in run.parameters)
    if torch.is_grad_enabled() and wanted:
        result: Tensor = super(Function, _Chained).apply(run, x, *run.parameters)[0]
        return result
    result = run.empty(run.shape, x.dtype)
    run.chain.forward(x.data_ptr(), _addresses(run.parameters), result.data_ptr(), 0)
    return result


def _is_free(layer: nn.Module) -> bool:
    """Whether nobody listens to what a layer does, or has changed it."""
    own = vars(layer)
    return not (
        own["_forward_hooks"]
        or own["_forward_pre_hooks"]
        or own["_backward_hooks"]
        or own["_backward_pre_hooks"]
        or "forward" in own
    )


def _is_alike(parameter: Tensor, x: Tensor) -> bool:
    return (
        parameter.dtype is x.dtype
        and parameter.device.type == "cpu"
        and parameter.is_contiguous()
        and type(parameter) in (nn.Parameter, Tensor)
    )


def _convolution(layer: Any) -> _Stage:
    shape = tuple(layer.weight.shape)
    activation, pool = (layer.activation, layer.pool) if type(layer) is ConvBlock2d else (None, None)
    return _convolution_stage(shape, layer.stride, layer.padding, layer.dilation, layer.groups, activation, pool)


@lru_cache(maxsize=512)
def _convolution_stage(
    weight: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: int, activation: Any, pool: Any
) -> _Stage:
    return _Stage(weight, conv_parameters(weight[2:], stride, padding, dilation, groups), activation, pool)  # type: ignore[arg-type]


def _join(stages: list[_Stage], layer: Any, backend: Backend | None, *, flat: bool) -> bool:
    """Let the last stage do an activation's or a pooling's work too; whether it can."""
    last = stages[-1]
    activation = _ACTIVATIONS.get(type(layer))
    if activation is not None:
        if last.activation is not None or last.pool is not None:
            return False
        stages[-1] = last._replace(activation=activation)
        return True
    pool = _pool(layer)
    if pool is None or last.pool is not None or flat or registry.resolve(layer.backend) is not backend:
        return False
    stages[-1] = last._replace(pool=pool)
    return True


def _pool(layer: Any) -> Pooling | None:
    """Which pooling of 2 x 2 windows a layer is, if it is one."""
    if type(layer) not in (MaxPool2d, AvgPool2d):
        return None
    pairs = [value if isinstance(value, tuple) else (value, value) for value in (layer.kernel_size, layer.stride)]
    if pairs != [(2, 2), (2, 2)] or layer.padding not in (0, (0, 0)) or layer.ceil_mode:
        return None
    if type(layer) is MaxPool2d:
        return "max" if layer.dilation in (1, (1, 1)) and not layer.return_indices else None
    return "avg" if layer.divisor_override in (None, 4) else None


@lru_cache(maxsize=256)
def _chain(backend: Backend, dtype: Any, image: tuple[int, ...], stages: tuple[_Stage, ...]) -> Chain | None:
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
        run.chain.forward(x.data_ptr(), _addresses(parameters), result.data_ptr(), kept.data_ptr())
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
            grad.data_ptr(),
            *(x.data_ptr(), _addresses(parameters), result.data_ptr(), kept.data_ptr()),
            *(for_x, gradients),
        )
        return None, *found


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
