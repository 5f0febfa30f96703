"""`explain` says what a backend would do for a convolution, and why; asked to, it measures it too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np

from fastconv import registry
from fastconv.arguments import IntOrPair, Padding, conv_geometry, integer, pair, sides, size
from fastconv.backends.base import Backend
from fastconv.backends.explanation import Explanation
from fastconv.errors import ArgumentTypeError, ArgumentValueError
from fastconv.geometry import ConvGeometry, ConvParameters
from fastconv.layer import LayerError, parse

OPERATIONS = ("conv2d", "conv2d_input", "conv2d_weight")

_OF_LAYERS: dict[str | None, tuple[str, ...]] = {
    None: OPERATIONS[:1],
    "forward": OPERATIONS[:1],
    "input": OPERATIONS[1:2],
    "weight": OPERATIONS[2:],
    "backward": OPERATIONS[1:],
}
"""The operations that a layer's text asks for by its field ``op``."""

_SECONDS = 0.3
"""Seconds that a measured operation is repeated for, at least three times; the fastest call counts."""


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
    measure: bool = False,
) -> Explanation:
    """Returns how a convolution, or one of its gradients, would be computed; print the result.

    Args:
        input_size: (N, C, H, W).
        weight_size: (K, C / groups, R, S).
        stride, padding, dilation, groups, backend: as in `conv2d`.
        operation: "conv2d", or for the gradients "conv2d_input" or "conv2d_weight".
        dtype: "float32" or "float64".
        measure: whether to compute it as well, with random numbers, and add the measured time.

    Returns:
        the chosen algorithm, the predicted and the measured seconds (None where there are none), and the text: the
        share of the machine's peak, what every candidate would cost, and why algorithms were left out.

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
    return _explained(operation, geometry, kind, backend, measure)


def explain_layer(text: str, backend: str | None = None, measure: bool = False) -> list[Explanation]:
    """Returns the explanations of a layer that a text describes (`fastconv.layer`), one for each operation.

    Raises:
        ArgumentValueError: the text describes no convolution.
    """
    try:
        layer = parse(text)
        if not isinstance(layer.geometry, ConvGeometry):
            raise LayerError("a pooling has one algorithm in each backend; convolutions are explained")
    except LayerError as error:
        raise ArgumentValueError("layer", repr(text), str(error)) from None
    kind = np.dtype(np.float64 if layer.dtype == "float64" else np.float32)
    return [_explained(each, layer.geometry, kind, backend, measure) for each in _OF_LAYERS[layer.operation]]


def _explained(
    operation: str, geometry: ConvGeometry, kind: np.dtype, backend: str | None, measure: bool
) -> Explanation:
    runner = registry.resolve(backend).select(operation, geometry, kind)
    found = runner.explain(operation, geometry, kind)
    return replace(found, measured=_measured(runner, operation, geometry, kind)) if measure else found


def _measured(runner: Backend, operation: str, g: ConvGeometry, kind: np.dtype) -> float:
    """Returns the seconds of the fastest call; the first call, which may compile, doesn't count."""
    random = np.random.default_rng(0)
    x, w, grad = (random.standard_normal(each).astype(kind) for each in (g.input_shape, g.weight_shape, g.output_shape))
    operands = {"conv2d": (x, w, None), "conv2d_input": (grad, w), "conv2d_weight": (x, grad)}[operation]
    primitive = getattr(runner, operation)
    primitive(*operands, g)
    times: list[float] = []
    while len(times) < 3 or sum(times) < _SECONDS:
        start = perf_counter()
        primitive(*operands, g)
        times.append(perf_counter() - start)
    return min(times)
