"""How torch.utils.flop_counter counts fastconv's convolutions: as it counts torch's own.

A multiplication and an addition for each tap of each result, padding and all:

    conv2d          2 N P Q  K (C / G) R S
    conv2d_input    the same
    conv2d_weight   2 N P Q  K C R S, without regard to groups, as torch counts it
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, register_flop_formula

from fastconv.arguments import make_conv_geometry
from fastconv.geometry import ConvParameters
from fastconv.torch import ops as _ops  # noqa: F401  defines the operators

_fastconv = torch.ops.fastconv
for _operator in (_fastconv.conv2d, _fastconv.conv2d_input, _fastconv.conv2d_weight):
    flop_registry.pop(_operator, None)  # of an earlier import of this module; torch takes no second formula
Shape = Sequence[int]


@register_flop_formula(_fastconv.conv2d)
def _conv2d(x: Shape, w: Shape, bias: Any, *how: Any, **_: Any) -> int:
    stride, padding, dilation, groups = how[:4]
    parameters = ConvParameters(tuple(stride), tuple(padding), tuple(dilation), groups)
    out = make_conv_geometry(tuple(x), tuple(w), None, parameters).output_shape
    return 2 * x[0] * math.prod(out[2:]) * math.prod(w)


@register_flop_formula(_fastconv.conv2d_input)
def _input(size: Shape, w: Shape, grad: Shape, *_how: Any, **_: Any) -> int:
    return 2 * size[0] * math.prod(grad[2:]) * math.prod(w)


@register_flop_formula(_fastconv.conv2d_weight)
def _weight(x: Shape, size: Shape, grad: Shape, *_how: Any, **_: Any) -> int:
    return 2 * x[1] * math.prod(size[2:]) * math.prod(grad)
