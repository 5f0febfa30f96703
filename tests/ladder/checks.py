"""The checks of the contract that rungs must pass, each for one case, as tests and planted faults call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import fastconv
from fastconv import registry
from fastconv.errors import UnsupportedError
from fastconv.geometry import ConvGeometry
from fastconv.ladder import rung14_fusing
from fastconv.ladder.backend import GRADIENTS, RUNGS
from tests import oracle
from tests.cases import CONVOLUTIONS, ConvCase
from tests.forced import how, image
from tests.tolerance import assert_equal

FORWARD = [number for number in RUNGS if number != GRADIENTS]

INTERPRETED = "01"
"""The rung that Python itself runs: large cases would take it minutes."""

BLOCKS = [
    image(3, 6, 8, 5, 3, 3, N=2),
    image(2, 7, 5, 9, 3, 2, padding=(0, 0, 0, 0)),
    image(4, 9, 7, 12, 3, 3, groups=2),
    image(1, 20, 30, 16, 5, 5),
    image(5, 3, 2, 8, 1, 1),
    image(2, 9, 9, 3, 3, 3, dilation=(2, 2), padding=(2, 2, 2, 2)),
]
"""Layers whose ReLU and pooling are done in the same pass: odd and even sizes, filled and half-filled tiles."""


OWN = {
    "05": [
        ConvCase("fours", (2, 6, 9, 70), (8, 6, 3, 3), {"padding": 1}),
        ConvCase("fours_in_groups", (2, 6, 9, 11), (8, 3, 2, 3), {"groups": 2, "stride": (2, 1), "dilation": (1, 3)}),
    ],
    "06": [ConvCase("tiles", (2, 19, 13, 21), (21, 19, 3, 3), {"padding": 1})],
    "11": [
        ConvCase("depthwise_odd", (2, 5, 37, 41), (10, 1, 5, 3), {"groups": 5, "padding": (3, 1)}),
        ConvCase("depthwise_steps", (2, 3, 17, 41), (3, 1, 3, 3), {"groups": 3, "stride": 2, "dilation": (1, 2)}),
    ],
    "12": [
        ConvCase("bands", (2, 19, 61, 13), (21, 19, 3, 3), {"padding": 1}),
        ConvCase("one_result", (1, 2, 3, 3), (3, 2, 3, 3)),
        ConvCase("odd_by_even", (2, 3, 7, 6), (4, 3, 3, 3), {"padding": (0, 2, 1, 3)}),
    ],
}
"""Layers that suit a rung which does few of the common table."""


def cases(number: str) -> list[ConvCase]:
    """Returns the cases that a rung is run on: those of the common table, and of its own."""
    return [case for case in [*CONVOLUTIONS, *OWN.get(number, ())] if number != INTERPRETED or not case.large]


def numbers(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Returns standard normal numbers, the same in every run."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def _unless_refused(name: str, operation: str, call: Callable[[], Any]) -> Any:
    """Returns what a call does, or None if the backend refuses, in words that name another rung."""
    try:
        return call()
    except UnsupportedError as error:
        words = str(error)
    assert words.startswith(f"backend {name!r} can't do {operation}: ")
    assert "ladder:" in words
    return None


def forward(name: str, case: ConvCase, dtype: str) -> bool:
    """Compares the forward pass with torch's in float64; returns False if the backend refuses the case."""
    x, w = numbers(case.x, dtype, 1), numbers(case.w, dtype, 2)
    b = numbers(case.w[:1], dtype, 3) if case.bias else None
    before = x.copy(), w.copy()
    y = _unless_refused(name, "conv2d", lambda: fastconv.conv2d(x, w, b, **case.how, backend=name))
    if y is None:
        return False
    assert y.dtype == dtype
    assert y.flags.c_contiguous
    assert y.base is None or not np.shares_memory(y, x)
    assert_equal(y, oracle.conv2d(x, w, b, case.how))
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(w, before[1])
    return True


def gradients(name: str, case: ConvCase, dtype: str) -> bool:
    """Compares the gradients with torch's in float64; returns False if the backend refuses the case."""
    x, w = numbers(case.x, dtype, 1), numbers(case.w, dtype, 2)
    grad = numbers(oracle.conv2d(x, w, None, case.how).shape, dtype, 4)
    call = lambda: fastconv.conv2d_backward(grad, x, w, **case.how, backend=name)  # noqa: E731
    found = _unless_refused(name, "conv2d_input", call)
    if found is None:
        return False
    expected = oracle.conv2d_gradients(x, w, grad, case.how)
    for what, ours, theirs in zip(("input", "weight", "bias"), found, expected, strict=True):
        assert ours.dtype == dtype
        assert_equal(ours, theirs, f"gradient for {what}")
    return True


def fused(g: ConvGeometry, dtype: str, relu: bool, special: float | None = None) -> None:
    """Compares convolution, ReLU and 2 x 2 maxima, made in one pass, with torch's in float64."""
    x, w = numbers(g.input_shape, dtype, 1), numbers(g.weight_shape, dtype, 2)
    b = numbers((g.K,), dtype, 3)
    if special is not None:
        x[0, 0, g.H // 2, g.W // 2] = special
    right = torch.from_numpy(oracle.conv2d(x, w, b, how(g)))
    right = torch.nn.functional.max_pool2d(right.relu() if relu else right, 2)
    assert_equal(rung14_fusing.block(x, w, b, g, relu=relu, pool=True), right.numpy())


def special_values(name: str, value: float, where: str, dtype: str) -> None:
    """Compares with torch where a NaN or infinity goes, also one of a weight that lies over the padding."""
    for g in (image(3, 6, 7, 4, 3, 3, N=2), image(4, 4, 5, 4, 1, 3), image(4, 5, 6, 4, 3, 3, groups=4)):
        x, w, grad = (numbers(s, dtype, 5) for s in (g.input_shape, g.weight_shape, g.output_shape))
        operand = {"input": x, "weight": w, "grad": grad}[where]
        operand[-1, -1, 0, 0] = operand[0, 0, -1, -1] = value
        if name == f"ladder:{GRADIENTS}":
            found = fastconv.conv2d_backward(grad, x, w, **how(g), backend=name)
            right = oracle.conv2d_gradients(x, w, grad, how(g))
        elif registry.get(name).refuses("conv2d", g, dtype):
            continue
        else:
            found, right = [fastconv.conv2d(x, w, **how(g), backend=name)], [oracle.conv2d(x, w, None, how(g))]
        for ours, theirs in zip(found, right, strict=True):
            assert_equal(ours, theirs)
