"""Convolution, activation and pooling as one step, which keeps and moves no more than a gradient needs.

A network's block conv - activation - pooling makes three results of the convolution's size and, backwards, three
gradients. Here the activation is done while the convolution's results are written; before max pooling nothing is kept
but the pooled elements and their indices, and backwards ReLU and the bias's sum work on those, a quarter as many. The
gradients are those of the separate layers to rounding.

A backend that has such a step (`numba`) takes it for contiguous images on the CPU (`chains`). Everywhere else, under
torch.compile and transforms too, a block runs as its separate layers.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional

from fastconv.arguments import (
    IntOrPair,
    Padding,
    conv_parameters,
    image_dims,
    make_conv_geometry,
    same_shape,
    weight_dims,
)
from fastconv.backends.block import ACTIVATIONS, POOLINGS, Activation, Pooling
from fastconv.errors import ArgumentValueError
from fastconv.geometry import ConvParameters
from fastconv.torch import chains
from fastconv.torch.modules import Conv2d
from fastconv.torch.separate import activated, separately
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
    residual: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """Returns a convolution's result after activation and pooling of 2 x 2 windows: one step forwards, one backwards.

    Args:
        input: (N, C, H, W), or (C, H, W) unbatched.
        weight, bias, stride, padding, dilation, groups, backend: as in `fastconv.conv2d`.
        activation: "relu", "relu6", "tanh", "silu", "hardswish", "sigmoid", "hardsigmoid", "leaky_relu" (of torch's
            default slope), "gelu", "gelu_tanh" (gelu with ``approximate="tanh"``) or None.
        pool: "max", "avg" or None.
        residual: (N, K, P, Q), or (K, P, Q) unbatched, added to the convolution's result before the activation.

    Returns:
        (N, K, P, Q) without pooling and (N, K, P // 2, Q // 2) with it, as the separate functions would give. It has
        gradients of any order; those beyond the first are computed by the separate functions.

    Raises:
        ValueError: another activation or pooling.
        RuntimeError, TypeError: as `fastconv.conv2d`; RuntimeError too where there is nothing to pool, and for a
            residual of another shape.
    """
    _check_names(activation, pool)
    check_tensors(input=input, weight=weight, bias=bias, residual=residual)
    image_dims("input", input.shape, 2)
    weight_dims(weight.shape, 2)
    how = conv_parameters((weight.shape[2], weight.shape[3]), stride, padding, dilation, groups)
    x, w, b = under_autocast(input if input.ndim == 4 else input[None], weight, bias)
    more = residual if residual is None or residual.ndim == 4 else residual[None]
    if more is not None:
        same_shape("residual", more.shape, _result_shape(x, w, how), "the convolution's result")
    result = chains.single(x, w, b, more, how, activation, pool, backend)
    if result is None:
        result = separately(x, w, b, more, activation, pool, *how, chosen(backend))
    return result if input.ndim == 4 else result[0]


def _result_shape(x: Tensor, w: Tensor, how: ConvParameters) -> tuple[int, ...]:
    return make_conv_geometry(tuple(x.shape), tuple(w.shape), None, how).output_shape


def _check_names(activation: str | None, pool: str | None) -> None:
    for name, value, known in (("activation", activation, ACTIVATIONS), ("pool", pool, POOLINGS)):
        if value is not None and value not in known:
            raise ArgumentValueError(name, repr(value), f"it must be one of {', '.join(known)}, or None")


class ConvBlock2d(Conv2d):
    """`fastconv.torch.Conv2d`, an activation and a pooling of 2 x 2 windows, as one layer.

    Takes the arguments of `torch.nn.Conv2d`, and ``activation`` (one of `conv2d_block`'s, or None),
    ``pool`` ("max", "avg" or None) and ``backend``. Parameters and state_dict are those of the convolution. Input
    (N, C, H, W) or (C, H, W).

    Raises ValueError for another activation or pooling, and what `torch.nn.Conv2d` raises.
    """

    def __init__(
        self,
        *args: Any,
        activation: Activation | None = "relu",
        pool: Pooling | None = None,
        backend: str | None = None,
        device: Any = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        _check_names(activation, pool)
        super().__init__(*args, backend=backend, device=device, dtype=dtype, **kwargs)
        self.activation = activation
        self.pool = pool

    def _convolved(self, image: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        further: Any = {"activation": self.activation, "pool": self.pool, "backend": self._fastconv_backend}
        return conv2d_block(image, weight, bias, *how, **further)

    def _followed(self, y: Tensor) -> Tensor:
        if self.activation is not None:
            y = activated(y, self.activation)
        return y if self.pool is None else getattr(torch.nn.functional, f"{self.pool}_pool2d")(y, 2)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation!r}, pool={self.pool!r}"
