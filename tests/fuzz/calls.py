"""Random valid calls: for each function a strategy that draws operands and arguments torch would take.

Elements are small whole numbers: sums of their products are exact in float32 as in float64, so a wrong element
can't hide in a tolerance; and there are ties for max pooling to break.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """A function's name, its arrays, and its other arguments, all by keyword."""

    function: str
    operands: dict[str, np.ndarray | None]
    arguments: dict[str, Any]

    def __repr__(self) -> str:
        shapes = [f"{name}={getattr(a, 'shape', a)}" for name, a in self.operands.items()]
        return f"{self.function}({', '.join(shapes + [f'{name}={value!r}' for name, value in self.arguments.items()])})"

    def on(self, **operands: np.ndarray | None) -> Call:
        return replace(self, operands=operands)


@dataclass(frozen=True)
class _Axis:
    """One axis of a sliding window: what a convolution along it would be told."""

    size: int
    kernel: int
    stride: int
    before: int
    after: int
    dilation: int

    @property
    def windows(self) -> int:
        return (self.size + self.before + self.after - self.dilation * (self.kernel - 1) - 1) // self.stride + 1


def integers(draw: Draw, low: int, high: int) -> int:
    return draw(st.integers(low, high))


def numbers(draw: Draw, *shape: int) -> np.ndarray:
    """Whole numbers from -4 to 4; float64."""
    rng = np.random.default_rng(integers(draw, 0, 2**32 - 1))
    return rng.integers(-4, 5, shape).astype(np.float64)


def spelled(draw: Draw, values: tuple[int, ...], *, spread: bool = True) -> Any:
    """One number for each axis, in one of the ways torch lets users write it; some functions ``spread`` 1-sequences."""
    spellings: list[Any] = [values, list(values)]
    if len(set(values)) == 1:
        spellings += [values[0], values[:1], [values[0]]] if spread else [values[0]]
    return draw(st.sampled_from(spellings))


def batched(draw: Draw, *shape: int) -> Shape:
    """With a batch of up to three images, of none at all, or without the axis."""
    batch = draw(st.sampled_from([(1,), (2,), (3,), (0,), ()]))
    return (*batch, *shape)


def _conv_axis(draw: Draw, kernel: int, padding: str) -> _Axis:
    dilation = integers(draw, 1, 3)
    reach = dilation * (kernel - 1) + 1
    stride = 1 if padding == "same" else integers(draw, 1, 3)
    before, after = 0, 0
    if padding == "same":
        before = (reach - 1) // 2
        after = reach - 1 - before
    elif padding == "even":
        before = after = integers(draw, 0, 3)
    elif padding == "sides":
        before, after = integers(draw, 0, 3), integers(draw, 0, 3)
    size = max(1, reach - before - after) + integers(draw, 0, 4)
    return _Axis(size, kernel, stride, before, after, dilation)


def _padding(draw: Draw, kind: str, axes: list[_Axis]) -> Any:
    if kind in ("same", "valid"):
        return kind
    if kind == "sides":
        return tuple(side for axis in axes for side in (axis.before, axis.after))
    return spelled(draw, tuple(axis.before for axis in axes))


def _each(axes: list[_Axis], name: str) -> tuple[int, ...]:
    return tuple(getattr(axis, name) for axis in axes)


def _convolution(draw: Draw, dims: int, kinds: tuple[str, ...]) -> tuple[list[_Axis], dict[str, Any], Shape]:
    """The axes, the arguments, and (groups, channels a group, filters a group). No channels make a result of none."""
    kind = draw(st.sampled_from(kinds))
    axes = [_conv_axis(draw, integers(draw, 1, 4), kind) for _ in range(dims)]
    groups, channels, filters = integers(draw, 1, 3), draw(st.sampled_from([1, 2, 3, 0])), integers(draw, 1, 3)
    arguments = {
        "stride": spelled(draw, _each(axes, "stride")),
        "padding": _padding(draw, kind, axes),
        "dilation": spelled(draw, _each(axes, "dilation")),
        "groups": groups,
    }
    return axes, arguments, (groups, channels, filters)


PADDINGS = ("even", "sides", "same", "valid")


def convolution(dims: int) -> st.SearchStrategy[Call]:
    @st.composite
    def calls(draw: Draw) -> Call:
        axes, arguments, (groups, channels, filters) = _convolution(draw, dims, PADDINGS)
        operands = {
            "input": numbers(draw, *batched(draw, groups * channels, *_each(axes, "size"))),
            "weight": numbers(draw, groups * filters, channels, *_each(axes, "kernel")),
            "bias": numbers(draw, groups * filters) if draw(st.booleans()) else None,
        }
        return Call(f"conv{dims}d", operands, arguments)

    return calls()


def transposed_convolution(dims: int) -> st.SearchStrategy[Call]:
    @st.composite
    def calls(draw: Draw) -> Call:
        axes, arguments, (groups, channels, filters) = _convolution(draw, dims, ("even", "sides"))
        channels = max(1, channels)
        extra = tuple(integers(draw, 0, max(axis.stride, axis.dilation) - 1) for axis in axes)
        sizes = tuple(
            (axis.size - 1) * axis.stride - axis.before - axis.after + axis.dilation * (axis.kernel - 1) + more + 1
            for axis, more in zip(axes, extra, strict=True)
        )
        assume(min(sizes) > 0)
        operands = {
            "input": numbers(draw, *batched(draw, groups * filters, *_each(axes, "size"))),
            "weight": numbers(draw, groups * filters, channels, *_each(axes, "kernel")),
            "bias": numbers(draw, groups * channels) if draw(st.booleans()) else None,
        }
        return Call(f"conv_transpose{dims}d", operands, {**arguments, "output_padding": spelled(draw, extra)})

    return calls()


@st.composite
def convolution_gradient(draw: Draw, function: str) -> Call:
    axes, arguments, (groups, channels, filters) = _convolution(draw, 2, PADDINGS)
    x_shape = batched(draw, groups * channels, *_each(axes, "size"))
    w_shape = (groups * filters, channels, *_each(axes, "kernel"))
    grad = numbers(draw, *x_shape[:-3], groups * filters if channels else 0, *_each(axes, "windows"))
    x, w = numbers(draw, *x_shape), numbers(draw, *w_shape)
    if function == "conv2d_input":
        return Call(function, {"weight": w, "grad_output": grad}, {"input_size": x_shape, **arguments})
    if function == "conv2d_weight":
        return Call(function, {"input": x, "grad_output": grad}, {"weight_size": w_shape, **arguments})
    return Call(function, {"grad_output": grad, "input": x, "weight": w}, arguments)


def _columns(function: str) -> Callable[[Draw], Call]:
    def calls(draw: Draw) -> Call:
        channels, axes = integers(draw, 1, 3), [_conv_axis(draw, integers(draw, 1, 4), "even") for _ in range(2)]
        names = {"kernel_size": "kernel", "stride": "stride", "padding": "before", "dilation": "dilation"}
        arguments = {name: spelled(draw, _each(axes, of), spread=False) for name, of in names.items()}
        sizes, kernel = _each(axes, "size"), _each(axes, "kernel")
        if function == "unfold":
            return Call(function, {"input": numbers(draw, *batched(draw, channels, *sizes))}, arguments)
        shape = batched(draw, channels * kernel[0] * kernel[1], int(np.prod(_each(axes, "windows"))))
        arguments["output_size"] = spelled(draw, sizes, spread=False)
        return Call(function, {"input": numbers(draw, *shape)}, arguments)

    return calls


unfolding = st.composite(_columns("unfold"))
folding = st.composite(_columns("fold"))
