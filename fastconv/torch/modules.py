"""Drop-in layers: subclasses of torch's with one extra argument, ``backend``.

Parameters, state_dict and initialisation are torch's, the repr adds the backend; the computation goes through fastconv.
Layers without a backend of their own leave channels_last images to torch (`left_to_torch`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional
from torch import nn

from fastconv import registry
from fastconv.torch import functional as F
from fastconv.torch.ops import layout_of

Tensor = torch.Tensor


class Layer(nn.Module):
    """What fastconv's layers share: a backend by name, None meaning the choice in force at each call.

    Raises UnknownBackendError or BackendUnavailableError for a backend that isn't or that can't run here.
    """

    backend: str | None = None

    def __init__(self, *args: Any, backend: str | None = None, **kwargs: Any) -> None:
        if backend is not None:
            registry.resolve(backend)
        super().__init__(*args, **kwargs)
        self.backend = backend

    def extra_repr(self) -> str:
        own = f"{registry.get_backend()!r} (default)" if self.backend is None else repr(self.backend)
        return ", ".join(part for part in (super().extra_repr(), f"backend={own}") if part)


def left_to_torch(layer: Any, *tensors: Tensor) -> bool:
    """Whether a layer lets torch compute float32 images in channels_last, since no backend was asked for.

    `auto` would take a backend that copies such images to contiguous ones and back, which gives 0.63 to 0.77 of torch's
    speed in whole models. A layer with a backend of its own, or under one that was chosen, always computes by that.
    As in torch, one channels_last tensor among ``tensors``, the image and the weight, makes the call channels_last.
    Transforms, tracers and torch.compile see fastconv's operators, whatever the layout.
    """
    x = tensors[0]
    return (
        layer.backend is None
        and isinstance(x, Tensor)
        and x.ndim == 4
        and x.dtype is torch.float32
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and torch._C._get_tracing_state() is None
        and x.device.type == "cpu"
        and layout_of(*tensors) is torch.channels_last
        and registry.get_backend() == "auto"
    )


def padded(layer: Any, input: Tensor) -> tuple[Tensor, Any]:
    """The input and the padding left to do: "reflect", "replicate" and "circular" are done by torch."""
    if layer.padding_mode == "zeros":
        return input, layer.padding
    sides = layer._reversed_padding_repeated_twice
    return torch.nn.functional.pad(input, sides, mode=layer.padding_mode), 0


class Conv1d(Layer, nn.Conv1d):
    """`torch.nn.Conv1d` with a ``backend``; input (N, C, L) or (C, L)."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        image, padding = padded(self, input)
        return F.conv1d(image, weight, bias, self.stride, padding, self.dilation, self.groups, backend=self.backend)


class Conv2d(Layer, nn.Conv2d):
    """`torch.nn.Conv2d` with a ``backend``; input (N, C, H, W) or (C, H, W)."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if left_to_torch(self, input, weight):
            return super()._conv_forward(input, weight, bias)
        image, padding = padded(self, input)
        return F.conv2d(image, weight, bias, self.stride, padding, self.dilation, self.groups, backend=self.backend)


def _transposed(layer: Any, function: Any, dims: int, input: Tensor, output_size: list[int] | None) -> Tensor:
    extra = layer._output_padding(
        input, output_size, layer.stride, layer.padding, layer.kernel_size, dims, layer.dilation
    )
    return function(
        input,
        layer.weight,
        layer.bias,
        layer.stride,
        layer.padding,
        extra,
        layer.groups,
        layer.dilation,
        backend=layer.backend,
    )


class ConvTranspose1d(Layer, nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` with a ``backend``; input (N, K, Q) or (K, Q)."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return _transposed(self, F.conv_transpose1d, 1, input, output_size)


class ConvTranspose2d(Layer, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` with a ``backend``; input (N, K, P, Q) or (K, P, Q)."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if left_to_torch(self, input, self.weight):
            return super().forward(input, output_size)
        return _transposed(self, F.conv_transpose2d, 2, input, output_size)


def _max_pooled(layer: Any, function: Any, input: Tensor) -> Any:
    return function(
        input,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.ceil_mode,
        layer.return_indices,
        backend=layer.backend,
    )


class MaxPool1d(Layer, nn.MaxPool1d):
    """`torch.nn.MaxPool1d` with a ``backend``; input (N, C, L) or (C, L)."""

    def forward(self, input: Tensor) -> Any:
        return _max_pooled(self, F.max_pool1d, input)


class MaxPool2d(Layer, nn.MaxPool2d):
    """`torch.nn.MaxPool2d` with a ``backend``; input (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Any:
        if left_to_torch(self, input):
            return super().forward(input)
        return _max_pooled(self, F.max_pool2d, input)


class AvgPool1d(Layer, nn.AvgPool1d):
    """`torch.nn.AvgPool1d` with a ``backend``; input (N, C, L) or (C, L)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            backend=self.backend,
        )


class AvgPool2d(Layer, nn.AvgPool2d):
    """`torch.nn.AvgPool2d` with a ``backend``; input (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        if left_to_torch(self, input):
            return super().forward(input)
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
            backend=self.backend,
        )


class AdaptiveAvgPool2d(Layer, nn.AdaptiveAvgPool2d):
    """`torch.nn.AdaptiveAvgPool2d` with a ``backend``; input (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        if left_to_torch(self, input):
            return super().forward(input)
        return F.adaptive_avg_pool2d(input, self.output_size, backend=self.backend)


class AdaptiveMaxPool2d(Layer, nn.AdaptiveMaxPool2d):
    """`torch.nn.AdaptiveMaxPool2d` with a ``backend``; input (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Any:
        if left_to_torch(self, input):
            return super().forward(input)
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices, backend=self.backend)
