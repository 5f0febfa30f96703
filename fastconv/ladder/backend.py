"""The rungs as backends: ``backend="ladder:06"`` computes with rung 06 alone, and says what it can't do."""

from __future__ import annotations

import importlib
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from fastconv.backends.base import Backend, Geometry
from fastconv.backends.explanation import Explanation
from fastconv.errors import UnknownBackendError, UnsupportedError
from fastconv.geometry import ConvGeometry

RUNGS: dict[str, str] = {
    "01": "rung01_definition",
    "02": "rung02_compiled",
    "03": "rung03_padded",
    "04": "rung04_loop_order",
    "05": "rung05_reuse",
    "06": "rung06_registers",
    "07": "rung07_im2col",
    "08": "rung08_own_gemm",
    "09": "rung09_implicit",
    "10": "rung10_threads",
    "11": "rung11_depthwise",
    "12": "rung12_winograd",
    "13": "rung13_gradients",
    "14": "rung14_fusing",
}
"""The file of each rung."""

GRADIENTS, FUSING = "13", "14"

FORWARD = ("conv2d",)

BACKWARD = ("conv2d_input", "conv2d_weight")


def rung(number: str) -> Any:
    """Returns the module of a rung."""
    return importlib.import_module(f"fastconv.ladder.{RUNGS[number]}")


def _missing(operation: str) -> Any:
    """Returns a primitive that no rung has, and that says so."""

    def primitive(self: Ladder, *arguments: Any) -> Any:
        raise UnsupportedError(f"backend {self.name!r} can't do {operation}: {self.refuses(operation, None, None)}")

    return primitive


def _plain(array: np.ndarray) -> np.ndarray:
    """Returns the array C-contiguous and writable, so that the loops are compiled once for each data type."""
    return np.require(array, requirements=("C", "W"))


class Ladder(Backend):
    """One rung behind the contract; without a number it only lists them."""

    summary: ClassVar[str] = "a study in steps, from loops in Python to the machine's peak; name one, as ladder:06"
    options: ClassVar[tuple[str, ...]] = tuple(RUNGS)

    def __init__(self, name: str = "ladder", number: str | None = None) -> None:
        if number is not None and number not in RUNGS:
            raise UnknownBackendError(f"backend {name!r}: its rungs are {', '.join(RUNGS)}, and {number!r} is none")
        self.name = name
        self.number = number

    @cached_property
    def rung(self) -> Any:
        """The module that computes."""
        return rung(self.number or "02")

    def unavailable(self) -> str | None:
        if self.number is not None:
            return None
        return "it computes by one of its rungs: name it, as ladder:06; `fastconv ladder` shows all of them"

    def variant(self, option: str) -> Ladder:
        return Ladder(f"{self.name}:{option}", option)

    def refuses(self, operation: str, geometry: Geometry | None, dtype: Any) -> str | None:
        if operation == "channel_sum":
            return None
        if operation not in (*FORWARD, *BACKWARD):
            return "the ladder is about convolutions; backend='numba' does all else"
        if (operation in BACKWARD) != (self.number == GRADIENTS):
            return f"gradients are those of ladder:{GRADIENTS}, which has nothing else"
        if geometry is None or 0 in (*geometry.input_shape, *geometry.output_shape):
            return None
        reason: str | None = getattr(self.rung, "refuses", lambda g: None)(geometry)
        return reason

    def explain(self, operation: str, geometry: Geometry, dtype: Any) -> Explanation:
        number = self.number or "02"
        what = f"{operation} by rung {number}, {self.rung.IDEA}: fastconv/ladder/{RUNGS[number]}.py"
        return Explanation(self.name, None, what)

    def conv2d(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, geometry: ConvGeometry) -> np.ndarray:
        if 0 in geometry.output_shape:
            return np.empty(geometry.output_shape, x.dtype)
        return np.ascontiguousarray(self.rung.conv2d(_plain(x), _plain(w), _bias(b, x, geometry), geometry))

    def conv2d_input(self, grad: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        if 0 in (*geometry.output_shape, *geometry.input_shape):
            return np.zeros(geometry.input_shape, grad.dtype)
        x: np.ndarray = rung(GRADIENTS).conv2d_input(_plain(grad), _plain(w), geometry)
        return x

    def conv2d_weight(self, x: np.ndarray, grad: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        if 0 in (*geometry.output_shape, *geometry.input_shape):
            return np.zeros(geometry.weight_shape, x.dtype)
        w: np.ndarray = rung(GRADIENTS).conv2d_weight(_plain(x), _plain(grad), geometry)
        return w

    max_pool2d = _missing("max_pool2d")
    max_pool2d_backward = _missing("max_pool2d_backward")
    avg_pool2d = _missing("avg_pool2d")
    avg_pool2d_backward = _missing("avg_pool2d_backward")


def _bias(b: np.ndarray | None, x: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Returns the bias that sums begin with, zeros where there is none."""
    return np.zeros(geometry.K, x.dtype) if b is None else _plain(b)
