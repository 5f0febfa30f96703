"""With the environment's FASTCONV_VERBOSE=1, every call of a backend prints a line about itself to stderr:

    N=8 C=64 H=56 K=64 R=3 padding=1 op=forward  # numba: winograd(4x4), 1.625 ms

Such a line is a layer's text (`fastconv.layer`), so ``fastconv bench run --problem`` and ``fastconv explain`` take it.
A call that no such text describes, such as an adaptive pooling, is a comment alone. Layers that are computed in one
step have a line each, and the last has the time of all of them. Data types are those that are computed in: float32 for
most halves. The first call of a kind may compile. On a GPU the time is that of the launch.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.geometry import ConvGeometry, PoolGeometry
from fastconv.layer import DTYPES, Layer

if TYPE_CHECKING:
    from fastconv.backends.base import Backend
    from fastconv.backends.chain import Chain, Gradients, Operands

WANTED = os.environ.get("FASTCONV_VERBOSE", "") not in ("", "0")

_OPERATIONS = {
    "conv2d": ("conv", "forward"),
    "conv2d_input": ("conv", "input"),
    "conv2d_weight": ("conv", "weight"),
    "max_pool2d": ("max", "forward"),
    "max_pool2d_values": ("max", "forward"),
    "max_pool2d_gradient": ("max", "backward"),
    "avg_pool2d": ("avg", "forward"),
    "avg_pool2d_backward": ("avg", "backward"),
}
"""The kind of layer and the operation of each primitive that a text describes."""

_PRIMITIVES = {"forward": "conv2d", "input": "conv2d_input", "weight": "conv2d_weight", "backward": "conv2d_weight"}

_at_work = threading.local()


def tell(backend: Backend, operations: tuple[str, ...]) -> None:
    """Make the primitives and the chains of a backend print a line for each call from now on."""
    for operation in operations:
        setattr(backend, operation, _telling(backend, operation))
    make = backend.chain

    def chain(*arguments: Any) -> Chain | None:
        made = make(*arguments)
        if made is not None:
            _tell_chain(backend, made, arguments[1])
        return made

    backend.chain = chain  # type: ignore[method-assign, assignment]


def _telling(backend: Backend, operation: str) -> Callable[..., Any]:
    primitive = getattr(backend, operation)

    @wraps(primitive)
    def call(*arguments: Any) -> Any:
        with _timed(lambda: [_line(backend, operation, arguments)]):
            return primitive(*arguments)

    return call


def _tell_chain(backend: Backend, chain: Chain, dtype: Any) -> None:
    forward, backward = chain.forward, chain.backward

    def lines(operations: list[str]) -> list[str]:
        found = []
        for number, (block, operation) in enumerate(zip(chain.blocks, operations, strict=True), 1):
            layer = Layer("conv", block.geometry, np.dtype(dtype).name, operation=operation)
            how = _algorithm(backend, _PRIMITIVES[operation], layer)
            place = f", layer {number} of {len(operations)} in one step" if len(operations) > 1 else ""
            found.append(f"{layer}  # {how}{place}")
        return found

    def tell_forward(at: Operands) -> bool:
        with _timed(lambda: lines(["forward"] * len(chain.blocks))):
            return forward(at)

    def tell_backward(at: Operands, gradients: Gradients) -> bool:
        operations = []
        for number in range(len(chain.blocks)):
            to_input, to_weight = number > 0 or gradients.x is not None, gradients.parameters[2 * number] is not None
            operations.append("backward" if to_input and to_weight else "weight" if to_weight else "input")
        with _timed(lambda: lines(operations)):
            return backward(at, gradients)

    chain.forward, chain.backward = tell_forward, tell_backward  # type: ignore[method-assign]


@contextmanager
def _timed(lines: Callable[[], list[str]]) -> Iterator[None]:
    """Print the lines with the time that the block takes, unless it is part of another such block."""
    if getattr(_at_work, "inside", False):
        yield
        return
    _at_work.inside = True
    try:
        start = perf_counter()
        yield
        milliseconds = 1e3 * (perf_counter() - start)
        *before, last = lines()
        sys.stderr.write("".join(f"{line}\n" for line in (*before, f"{last}, {milliseconds:.3f} ms")))
    finally:
        _at_work.inside = False


def _line(backend: Backend, operation: str, arguments: tuple[Any, ...]) -> str:
    operand, dtype = arguments[0], str(arguments[0].dtype).removeprefix("torch.")
    geometry = next((each for each in arguments if isinstance(each, (ConvGeometry, PoolGeometry))), None)
    if geometry is None or operation not in _OPERATIONS or dtype not in DTYPES or 0 in tuple(operand.shape):
        return f"# {operation} of {tuple(operand.shape)} in {dtype}, {backend.name}"
    kind, name = _OPERATIONS[operation]
    layer = Layer(kind, geometry, dtype, _layout(operand), name)
    return f"{layer}  # {_algorithm(backend, operation, layer)}"


def _layout(operand: Any) -> str:
    strides = operand.strides if isinstance(operand, np.ndarray) else operand.stride()
    return "channels_last" if operand.shape[1] > 1 and strides[1] < strides[3] else "contiguous"


@lru_cache(maxsize=4096)
def _algorithm(backend: Backend, operation: str, layer: Layer) -> str:
    """Returns the name of a backend, and of the algorithm that it takes where it has several."""
    kind = np.dtype(np.float64 if layer.dtype == "float64" else np.float32)
    found = backend.explain(operation, layer.geometry, kind).algorithm
    return backend.name if found == backend.name else f"{backend.name.partition(':')[0]}: {found}"
