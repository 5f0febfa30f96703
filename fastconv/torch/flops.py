"""How torch.utils.flop_counter counts fastconv's convolutions: as it counts torch's own, by torch's formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import conv_flop_count, flop_registry, register_flop_formula

from fastconv.arguments import make_conv_geometry
from fastconv.geometry import ConvParameters
from fastconv.torch import ops as _ops  # noqa: F401  defines the operators

_fastconv = torch.ops.fastconv
for _operator in (_fastconv.conv2d, _fastconv.conv2d_input, _fastconv.conv2d_weight):
    flop_registry.pop(_operator, None)  # of an earlier import of this module; torch takes no second formula
Shape = Sequence[int]


def _turned(shape: Shape) -> list[int]:
    """A shape with its first two axes exchanged."""
    return [shape[1], shape[0], *shape[2:]]


@register_flop_formula(_fastconv.conv2d)
def _conv2d(x: Shape, w: Shape, bias: Any, *how: Any, **_: Any) -> int:
    stride, padding, dilation, groups = how[:4]
    parameters = ConvParameters(tuple(stride), tuple(padding), tuple(dilation), groups)
    out = make_conv_geometry(tuple(x), tuple(w), None, parameters).output_shape
    return conv_flop_count(list(x), list(w), list(out))


@register_flop_formula(_fastconv.conv2d_input)
def _input(size: Shape, w: Shape, grad: Shape, *_how: Any, **_: Any) -> int:
    return conv_flop_count(list(grad), list(w), [], transposed=True)


@register_flop_formula(_fastconv.conv2d_weight)
def _weight(x: Shape, size: Shape, grad: Shape, *_how: Any, **_: Any) -> int:
    return conv_flop_count(_turned(x), _turned(grad), _turned(size))
