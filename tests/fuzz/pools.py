"""Random valid calls of the poolings and what goes with them; see `tests.fuzz.calls`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import assume
from hypothesis import strategies as st

from .calls import Call, Draw, batched, integers, numbers, spelled


@dataclass(frozen=True)
class _Window:
    """Pooling's window along one axis, on an image large enough for one."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int


def _window(draw: Draw, dilated: bool, padded: bool = True) -> _Window:
    kernel = integers(draw, 1, 4)
    dilation = integers(draw, 1, 3) if dilated else 1
    padding = integers(draw, 0, kernel // 2) if padded else 0
    smallest = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
    return _Window(smallest + integers(draw, 0, 5), kernel, integers(draw, 1, 5), padding, dilation)


def _each(windows: list[_Window], name: str) -> tuple[int, ...]:
    return tuple(getattr(window, name) for window in windows)


def _pooled(draw: Draw, windows: list[_Window], names: tuple[str, ...]) -> tuple[np.ndarray, dict[str, Any]]:
    """The input, and the arguments that poolings share."""
    spellings = {name: spelled(draw, _each(windows, name)) for name in names}
    if draw(st.booleans()):
        spellings["stride"] = draw(st.sampled_from([None, (), []]))
    arguments = {"kernel_size": spelled(draw, _each(windows, "kernel")), **spellings, "ceil_mode": draw(st.booleans())}
    return numbers(draw, *batched(draw, integers(draw, 1, 3), *_each(windows, "size"))), arguments


def max_pooling(dims: int) -> st.SearchStrategy[Call]:
    @st.composite
    def calls(draw: Draw) -> Call:
        windows = [_window(draw, dilated=True) for _ in range(dims)]
        x, arguments = _pooled(draw, windows, ("stride", "padding", "dilation"))
        return Call(f"max_pool{dims}d", {"input": x}, {**arguments, "return_indices": draw(st.booleans())})

    return calls()


def average_pooling(dims: int) -> st.SearchStrategy[Call]:
    @st.composite
    def calls(draw: Draw) -> Call:
        windows = [_window(draw, dilated=False) for _ in range(dims)]
        x, arguments = _pooled(draw, windows, ("stride", "padding"))
        arguments["count_include_pad"] = draw(st.booleans())
        if dims == 2:
            arguments["divisor_override"] = draw(st.sampled_from([None, None, 1, 3, -2]))
        return Call(f"avg_pool{dims}d", {"input": x}, arguments)

    return calls()


def power_pooling(dims: int) -> st.SearchStrategy[Call]:
    @st.composite
    def calls(draw: Draw) -> Call:
        windows = [_window(draw, dilated=False, padded=False) for _ in range(dims)]
        x, arguments = _pooled(draw, windows, ("stride",))
        # torch takes nothing but an integer for a line, and no 1-sequence for an image.
        kernel = _each(windows, "kernel")
        arguments["kernel_size"] = kernel[0] if dims == 1 else spelled(draw, kernel, spread=False)
        arguments["norm_type"] = draw(st.sampled_from([1, 2, 2.0, 3.0, 0.5, -2.0, float("inf"), -float("inf")]))
        if arguments["stride"] in ((), []):
            arguments["stride"] = None
        return Call(f"lp_pool{dims}d", {"input": x}, arguments)

    return calls()


def adaptive_pooling(kind: str, dims: int) -> st.SearchStrategy[Call]:
    @st.composite
    def calls(draw: Draw) -> Call:
        sizes = [integers(draw, 1, 7) for _ in range(dims)]
        wanted: Any = tuple(integers(draw, 0, 8) for _ in range(dims))
        if dims == 2 and draw(st.booleans()):
            wanted = draw(st.sampled_from([(wanted[0], None), [None, wanted[1]], (None, None)]))
        elif len(set(wanted)) == 1:
            wanted = draw(st.sampled_from([wanted, wanted[0]]))
        arguments = {"output_size": wanted}
        if kind == "max":
            arguments["return_indices"] = draw(st.booleans())
        shape = batched(draw, integers(draw, 1, 3), *sizes)
        return Call(f"adaptive_{kind}_pool{dims}d", {"input": numbers(draw, *shape)}, arguments)

    return calls()


def _places(draw: Draw, planes: tuple[int, ...], pixels: int, count: int) -> np.ndarray:
    """(*planes, count) different pixels of each plane: where two values meet, torch leaves open which one stays."""
    rng = np.random.default_rng(integers(draw, 0, 2**32 - 1))
    chosen = [rng.permutation(pixels)[:count] for _ in range(int(np.prod(planes)))]
    return np.array(chosen, np.int64).reshape(*planes, count)


@st.composite
def unpooling(draw: Draw) -> Call:
    kernel, P, Q = (integers(draw, 1, 4), integers(draw, 1, 4)), integers(draw, 1, 4), integers(draw, 1, 4)
    stride = draw(st.sampled_from([None, (integers(draw, 1, 4), integers(draw, 1, 4))]))
    padding = (integers(draw, 0, kernel[0] // 2), integers(draw, 0, kernel[1] // 2))
    steps = stride or kernel
    usual = [
        (count - 1) * step - 2 * pad + k for count, step, pad, k in zip((P, Q), steps, padding, kernel, strict=True)
    ]
    size = tuple(side + integers(draw, 1 - step, step - 1) for side, step in zip(usual, steps, strict=True))
    if draw(st.booleans()):
        size = tuple(usual)
    assume(min(size) > 0 and size[0] * size[1] >= P * Q)
    shape = batched(draw, integers(draw, 1, 3), P, Q)
    indices = _places(draw, shape[:-2], size[0] * size[1], P * Q).reshape(shape)
    arguments = {
        "kernel_size": spelled(draw, kernel, spread=False),
        "stride": stride and spelled(draw, stride, spread=False),
        "padding": spelled(draw, padding, spread=False),
        "output_size": draw(st.sampled_from([None, size] if size == tuple(usual) else [size, (1, 1, *size)])),
    }
    return Call("max_unpool2d", {"input": numbers(draw, *shape), "indices": indices}, arguments)


@st.composite
def max_pooling_gradient(draw: Draw) -> Call:
    """Indices need not come from a pooling: some are equal, so that gradients are added, some -1."""
    C, H, W, P, Q = (integers(draw, 1, 4) for _ in range(5))
    x_shape = batched(draw, C, H, W)
    shape = (*x_shape[:-2], P, Q)
    rng = np.random.default_rng(integers(draw, 0, 2**32 - 1))
    operands = {
        "grad_output": numbers(draw, *shape),
        "indices": rng.integers(-1, H * W, shape),
    }
    return Call("max_pool2d_backward", operands, {"input_size": x_shape})


@st.composite
def average_pooling_gradient(draw: Draw) -> Call:
    forward = draw(average_pooling(2))
    x = torch.from_numpy(forward.operands["input"])
    shape = torch.nn.functional.avg_pool2d(x, **forward.arguments).shape
    arguments = {"input_size": tuple(x.shape), **forward.arguments}
    return Call("avg_pool2d_backward", {"grad_output": numbers(draw, *shape)}, arguments)
