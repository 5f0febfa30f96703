"""The yardstick: torch.nn.functional behind the same contract.

It takes NumPy arrays and torch tensors, on any device, without a copy where torch can do without one. torch has no
four-sided padding, so unequal sides are padded first; gradients come from ``aten::convolution_backward``.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastconv.adaptive_geometry import AdaptiveGeometry
from fastconv.backends.base import Backend
from fastconv.geometry import ConvGeometry, PoolGeometry

if TYPE_CHECKING:
    import torch


class Torch(Backend):
    """torch.nn.functional; torch is imported at the first call."""

    name = "torch"
    summary: ClassVar[str] = "the yardstick: torch.nn.functional"
    tensors: ClassVar[bool] = True
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda", "mps", "xpu")
    differentiable: ClassVar[bool] = True

    def unavailable(self) -> str | None:
        if importlib.util.find_spec("torch") is None:
            return "torch is not installed: pip install 'fastconv[torch]'"
        try:
            importlib.import_module("torch")
        except Exception as error:  # a broken installation may raise anything
            return f"torch can't be imported: {type(error).__name__}: {error}"
        return None

    def conv2d(self, x: Any, w: Any, b: Any, geometry: ConvGeometry) -> Any:
        import torch.nn.functional as F

        image, padding = _evenly_padded(_tensor(x), geometry)
        bias = None if b is None else _tensor(b)
        y = F.conv2d(image, _tensor(w), bias, geometry.stride, padding, geometry.dilation, geometry.groups)
        return _like(y, x)

    def conv2d_input(self, grad: Any, w: Any, geometry: ConvGeometry) -> Any:
        g = geometry
        top, _, left, _ = g.padding
        image = _tensor(grad).new_empty(1).expand(_padded_shape(g))  # only its shape is read
        padded = _convolution_backward(_tensor(grad), image, _tensor(w), g, _even(g), (True, False, False))[0]
        if not _is_even(g):
            padded = padded[:, :, top : top + g.H, left : left + g.W]
        return _like(padded, grad)

    def conv2d_weight(self, x: Any, grad: Any, geometry: ConvGeometry) -> Any:
        g = geometry
        image, padding = _evenly_padded(_tensor(x), g)
        weight = image.new_empty(1).expand(g.weight_shape)  # only its shape is read
        return _like(_convolution_backward(_tensor(grad), image, weight, g, padding, (False, True, False))[1], x)

    def max_pool2d(self, x: Any, geometry: PoolGeometry) -> tuple[Any, Any]:
        import torch.nn.functional as F

        g = geometry
        image = _tensor(x)
        if not image.is_floating_point():
            image = image.contiguous()  # in channels_last torch counts pixels in their own type: 255 of uint8 at most
        values, indices = F.max_pool2d(
            image, (g.R, g.S), g.stride, g.padding, g.dilation, g.ceil_mode, return_indices=True
        )
        if g.dilation != (1, 1):  # torch leaves any number where a window touches no pixel
            indices = indices.masked_fill(_tensor(_untouched(g)).to(indices.device), -1)
        return _like(values, x), _like(indices, x)

    def max_pool2d_backward(self, grad: Any, indices: Any, size: tuple[int, int]) -> Any:
        gradient, at = _tensor(grad), _tensor(indices)
        planes = gradient.new_zeros((*gradient.shape[:2], size[0] * size[1]))
        kept = gradient.masked_fill(at < 0, 0)
        planes.scatter_add_(2, at.clamp(min=0).flatten(2), kept.flatten(2))
        return _like(planes.unflatten(2, size), grad)

    def avg_pool2d(self, x: Any, geometry: PoolGeometry) -> Any:
        import torch.nn.functional as F

        g = geometry
        y = F.avg_pool2d(
            _tensor(x), (g.R, g.S), g.stride, g.padding, g.ceil_mode, g.count_include_pad, g.divisor_override
        )
        return _like(y, x)

    def avg_pool2d_backward(self, grad: Any, geometry: PoolGeometry) -> Any:
        import torch

        g = geometry
        gradient = _tensor(grad)
        image = gradient.new_empty(g.input_shape)  # only its shape is read
        x = torch.ops.aten.avg_pool2d_backward(
            gradient,
            image,
            (g.R, g.S),
            g.stride,
            g.padding,
            g.ceil_mode,
            g.count_include_pad,
            g.divisor_override,
        )
        return _like(x, grad)

    def adaptive_max_pool2d(self, x: Any, geometry: AdaptiveGeometry) -> tuple[Any, Any]:
        import torch.nn.functional as F

        image = _tensor(x)
        if not image.is_floating_point():
            return super().adaptive_max_pool2d(x, geometry)  # torch's own is of floats alone
        values, indices = F.adaptive_max_pool2d(image, (geometry.P, geometry.Q), return_indices=True)
        return _like(values, x), _like(indices, x)

    def adaptive_avg_pool2d(self, x: Any, geometry: AdaptiveGeometry) -> Any:
        import torch.nn.functional as F

        return _like(F.adaptive_avg_pool2d(_tensor(x), (geometry.P, geometry.Q)), x)

    def adaptive_avg_pool2d_backward(self, grad: Any, geometry: AdaptiveGeometry) -> Any:
        import torch

        gradient = _tensor(grad)
        image = gradient.new_empty(geometry.input_shape)  # only its shape is read
        return _like(torch.ops.aten._adaptive_avg_pool2d_backward(gradient, image), grad)

    def unfold(self, x: Any, geometry: ConvGeometry) -> Any:
        import torch.nn.functional as F

        g = geometry
        return _like(F.unfold(_tensor(x), (g.R, g.S), g.dilation, _even(g), g.stride), x)

    def fold(self, columns: Any, geometry: ConvGeometry) -> Any:
        import torch.nn.functional as F

        g = geometry
        x = F.fold(_tensor(columns), (g.H, g.W), (g.R, g.S), g.dilation, _even(g), g.stride)
        return _like(x, columns)


def _tensor(array: Any) -> torch.Tensor:
    """Returns a tensor on the array's memory, or a copy where strides are negative or the array is read-only."""
    import torch

    if isinstance(array, torch.Tensor):
        return array
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def _like(result: torch.Tensor, given: Any) -> Any:
    """Returns the result as the kind of array that was given, C-contiguous if that is NumPy's."""
    return np.ascontiguousarray(result.numpy()) if isinstance(given, np.ndarray) else result


def _is_even(g: ConvGeometry) -> bool:
    top, bottom, left, right = g.padding
    return top == bottom and left == right


def _even(g: ConvGeometry) -> tuple[int, int]:
    """Returns the padding that torch is to add: none if the sides differ, since then the image comes padded."""
    return (g.padding[0], g.padding[2]) if _is_even(g) else (0, 0)


def _padded_shape(g: ConvGeometry) -> tuple[int, int, int, int]:
    if _is_even(g):
        return g.input_shape
    top, bottom, left, right = g.padding
    return g.N, g.C, g.H + top + bottom, g.W + left + right


def _evenly_padded(x: torch.Tensor, g: ConvGeometry) -> tuple[torch.Tensor, tuple[int, int]]:
    if _is_even(g):
        return x, _even(g)
    import torch.nn.functional as F

    top, bottom, left, right = g.padding
    return F.pad(x, (left, right, top, bottom)), (0, 0)


def _convolution_backward(
    grad: torch.Tensor,
    image: torch.Tensor,
    weight: torch.Tensor,
    g: ConvGeometry,
    padding: tuple[int, int],
    mask: tuple[bool, bool, bool],
) -> tuple[torch.Tensor, ...]:
    import torch

    return torch.ops.aten.convolution_backward(
        grad, image, weight, None, g.stride, padding, g.dilation, False, (0, 0), g.groups, mask
    )


def _untouched(g: PoolGeometry) -> np.ndarray:
    """Returns which windows touch no pixel, (P, Q) bool."""
    untouched = np.ones((g.P, g.Q), bool)
    for tap in g.taps():
        untouched[tap.windows] = False
    return untouched
