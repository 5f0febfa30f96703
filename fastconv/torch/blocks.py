"""Convolution, activation and pooling as one step, which keeps and moves no more than a gradient needs.

A network's block conv - activation - pooling makes three results of the convolution's size and, backwards, three
gradients. Here the activation is done while the convolution's results are written; before max pooling nothing is kept
but the pooled elements and their indices, and backwards ReLU and the bias's sum work on those, a quarter as many. The
gradients are those of the separate layers to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function

from fastconv import registry
from fastconv.arguments import IntOrPair, Padding, conv_parameters, image_dims, weight_dims
from fastconv.backends.base import Backend
from fastconv.backends.block import ACTIVATIONS, POOLINGS, Activation, Pooling
from fastconv.errors import ArgumentValueError
from fastconv.torch import autograd, chains, ops
from fastconv.torch.modules import Conv2d, padded
from fastconv.torch.tensor_ops import check_tensors, chosen, under_autocast

Tensor = torch.Tensor


def conv2d_block(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    activation: Activation | None = "relu",
    pool: Pooling | None = None,
    backend: str | None = None,
) -> Tensor:
    """A convolution, an activation and a pooling of 2 x 2 windows, in one step forwards and one backwards.

    Args:
        input: (N, C, H, W), or (C, H, W) unbatched.
        weight, bias, stride, padding, dilation, groups, backend: as in `fastconv.conv2d`.
        activation: "relu", "tanh" or None.
        pool: "max", "avg" or None.

    Returns:
        (N, K, P, Q) without pooling and (N, K, P // 2, Q // 2) with it, as the separate functions would give. It has
        gradients of any order; those beyond the first are computed by the separate functions.

    Raises:
        ValueError: another activation or pooling.
        RuntimeError, TypeError: as `fastconv.conv2d`; RuntimeError too where there is nothing to pool.
    """
    _check_names(activation, pool)
    check_tensors(input=input, weight=weight, bias=bias)
    image_dims("input", input.shape, 2)
    weight_dims(weight.shape, 2)
    how = conv_parameters((weight.shape[2], weight.shape[3]), stride, padding, dilation, groups)
    x, w, b = under_autocast(input if input.ndim == 4 else input[None], weight, bias)
    result = chains.single(x, w, b, how, activation, pool, backend)
    if result is None:
        result = _block(x, w, b, activation, pool, *how, chosen(backend))
    return result if input.ndim == 4 else result[0]


def _check_names(activation: str | None, pool: str | None) -> None:
    for name, value, known in (("activation", activation, ACTIVATIONS), ("pool", pool, POOLINGS)):
        if value is not None and value not in known:
            raise ArgumentValueError(name, repr(value), f"it must be one of {', '.join(known)}, or None")


def _is_one_step(backend: str) -> bool:
    """Whether a backend does blocks in a way of its own: a graph that is compiled asks when it runs."""
    if torch.compiler.is_compiling():
        return True
    return type(registry.get(backend)).conv2d_block is not Backend.conv2d_block


def _block(x: Tensor, w: Tensor, b: Tensor | None, activation: str | None, pool: str | None, *how: Any) -> Tensor:
    if not _is_one_step(how[-1]):
        return autograd.separately(x, w, b, activation, pool, *how)
    if autograd.recorded(x, w, b):
        result: Tensor = autograd.apply(_Block, x, w, b, activation, pool, *how)[0]
        return result
    y = _activated(x, w, b, activation, how)
    if pool == "max":
        return ops.max_pool2d_values(y, *autograd.PAIRS, how[-1])
    return y if pool is None else ops.avg_pool2d(y, *autograd.PAIRS, True, None, how[-1])


def _activated(x: Tensor, w: Tensor, b: Tensor | None, activation: str | None, how: Any) -> Tensor:
    return ops.conv2d(x, w, b, *how) if activation is None else ops.conv2d_activated(x, w, b, activation, *how)


class _Block(Function):
    @staticmethod
    def forward(
        x: Tensor, w: Tensor, b: Tensor | None, activation: str | None, pool: str | None, *how: Any
    ) -> tuple[Tensor, Tensor]:
        """The result, and what its gradient needs besides."""
        result, kept = ops.conv2d_block(x, w, b, activation, pool, *how)
        return result, kept

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, w, b, ctx.activation, ctx.pool, *ctx.how = inputs
        ctx.save_for_backward(x, w, b, *output)
        ctx.mark_non_differentiable(output[1])
        # Else torch makes zeros of what was kept, each time: 0.2 ms of a LeNet-5 step.
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Any) -> Any:
        if grad is None:
            return None, None, None, None, None, *[None] * len(ctx.how)
        x, w, b, result, kept = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():
            operands = [each for each, want in zip((x, w, b), wanted, strict=True) if want]
            again = autograd.separately(x, w, b, ctx.activation, ctx.pool, *ctx.how)
            gradients = iter(torch.autograd.grad(again, operands, grad, create_graph=True))
            found = [next(gradients) if want else None for want in wanted]
        else:
            three = ops.conv2d_block_backward(grad, x, w, result, kept, ctx.activation, ctx.pool, wanted, *ctx.how)
            found = [each if want else None for each, want in zip(three, wanted, strict=True)]
        return *found, None, None, *[None] * len(ctx.how)


class ConvBlock2d(Conv2d):
    """`fastconv.torch.Conv2d`, an activation and a pooling of 2 x 2 windows, as one layer.

    Takes the arguments of `torch.nn.Conv2d`, and ``activation`` ("relu", "tanh" or None), ``pool`` ("max", "avg" or
    None) and ``backend``. Parameters and state_dict are those of the convolution. Input (N, C, H, W) or (C, H, W).

    Raises ValueError for another activation or pooling, and what `torch.nn.Conv2d` raises.
    """

    def __init__(
        self,
        *args: Any,
        activation: Activation | None = "relu",
        pool: Pooling | None = None,
        backend: str | None = None,
        **kwargs: Any,
    ) -> None:
        _check_names(activation, pool)
        super().__init__(*args, backend=backend, **kwargs)
        self.activation = activation
        self.pool = pool

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        image, padding = padded(self, input)
        return conv2d_block(
            image,
            weight,
            bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
            activation=self.activation,
            pool=self.pool,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation!r}, pool={self.pool!r}"
