"""`explain` says what a backend would do for a convolution, and why, without doing it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastconv import registry
from fastconv.arguments import IntOrPair, Padding, conv_geometry, integer, pair, sides, size
from fastconv.backends.explanation import Explanation
from fastconv.errors import ArgumentTypeError, ArgumentValueError
from fastconv.geometry import ConvParameters

OPERATIONS = ("conv2d", "conv2d_input", "conv2d_weight")


def explain(
    input_size: Sequence[int],
    weight_size: Sequence[int],
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    operation: str = "conv2d",
    dtype: str = "float32",
    backend: str | None = None,
) -> Explanation:
    """Returns how a convolution, or one of its gradients, would be computed; print the result.

    Args:
        input_size: (N, C, H, W).
        weight_size: (K, C / groups, R, S).
        stride, padding, dilation, groups, backend: as in `conv2d`.
        operation: "conv2d", or for the gradients "conv2d_input" or "conv2d_weight".
        dtype: "float32" or "float64".

    Returns:
        the chosen algorithm, the predicted seconds (None from backends that predict none), and the text, which has
        what every candidate would cost.

    It raises what `conv2d` raises, ValueError for an unknown operation, and TypeError for another data type.
    """
    if operation not in OPERATIONS:
        raise ArgumentValueError("operation", repr(operation), f"it must be one of {', '.join(OPERATIONS)}")
    if dtype not in ("float32", "float64"):
        raise ArgumentTypeError("dtype", repr(dtype), 'it must be "float32" or "float64"')
    x, w = size("input_size", input_size, 4), size("weight_size", weight_size, 4)
    steps, spread = pair("stride", stride, 1), pair("dilation", dilation, 1)
    around = sides(padding, (w[2], w[3]), steps, spread)
    geometry = conv_geometry(x, w, None, ConvParameters(steps, around, spread, integer("groups", groups, 1)))
    kind = np.dtype(dtype)
    return registry.resolve(backend).select(operation, geometry, kind).explain(operation, geometry, kind)
