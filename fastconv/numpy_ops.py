"""What the API needs of NumPy arrays: operands checked and made plain, then handed to a backend's primitive.

float16 is computed in float32 and rounded once. Foreign byte orders and unaligned arrays are copied into native ones;
strides are left to the backend. Inputs are never written to.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import registry
from fastconv.arguments import (
    adaptive_geometry,
    conv_geometry,
    fold_geometry,
    pool_geometry,
    same_shape,
    unfold_geometry,
)
from fastconv.arrays import Shape, register_kind
from fastconv.backends.base import INTEGERS
from fastconv.backends.quiet import QUIET
from fastconv.errors import ArgumentError, ArgumentTypeError
from fastconv.geometry import ConvParameters, Pair, PoolParameters
from fastconv.planning import Conv2dPlan

_HALF, _SINGLE = np.dtype(np.float16), np.dtype(np.float32)
_COMPUTED = (_SINGLE, np.dtype(np.float64))
_INTEGERS = tuple(np.dtype(name) for name in INTEGERS)
_FLOATS = "float32, float64 or float16"


class NumpyOps:
    """`fastconv.arrays.ArrayOps` for NumPy arrays."""

    def conv2d(
        self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, how: ConvParameters, backend: str | None
    ) -> np.ndarray:
        (x, w, b), dtype = _operands(input=x, weight=w, bias=b)
        geometry = conv_geometry(x.shape, w.shape, None if b is None else b.shape, how)
        runner = registry.resolve(backend).select("conv2d", geometry, x.dtype)
        return _rounded(runner.conv2d(x, w, b, geometry), dtype)

    def plan_conv2d(
        self, shape: Shape, w: np.ndarray, b: np.ndarray | None, how: ConvParameters, backend: str | None
    ) -> Conv2dPlan:
        (w, b), dtype = _operands(weight=w, bias=b)
        geometry = conv_geometry((1, *shape)[-4:], w.shape, None if b is None else b.shape, how)
        runner = registry.resolve(backend).select("conv2d", geometry, w.dtype)
        w, b = w.copy(), None if b is None else b.copy()
        return Conv2dPlan(runner.plan_conv2d(w, b, geometry), shape, dtype, runner.name)

    def conv2d_input(
        self, size: Shape, w: np.ndarray, grad: np.ndarray, how: ConvParameters, backend: str | None
    ) -> np.ndarray:
        (w, grad), dtype = _operands(weight=w, grad_output=grad)
        geometry = conv_geometry(size, w.shape, None, how)
        same_shape("grad_output", grad.shape, geometry.output_shape, "the convolution's result")
        runner = registry.resolve(backend).select("conv2d_input", geometry, grad.dtype)
        return _rounded(runner.conv2d_input(grad, w, geometry), dtype)

    def conv2d_weight(
        self, x: np.ndarray, size: Shape, grad: np.ndarray, how: ConvParameters, backend: str | None
    ) -> np.ndarray:
        (x, grad), dtype = _operands(input=x, grad_output=grad)
        geometry = conv_geometry(x.shape, size, None, how)
        same_shape("grad_output", grad.shape, geometry.output_shape, "the convolution's result")
        runner = registry.resolve(backend).select("conv2d_weight", geometry, x.dtype)
        return _rounded(runner.conv2d_weight(x, grad, geometry), dtype)

    def max_pool2d(self, x: np.ndarray, how: PoolParameters, backend: str | None) -> tuple[np.ndarray, np.ndarray]:
        x, dtype = _pooled(x)
        geometry = pool_geometry(x.shape, how)
        values, indices = registry.resolve(backend).select("max_pool2d", geometry, x.dtype).max_pool2d(x, geometry)
        return _rounded(values, dtype), indices

    def max_pool2d_values(self, x: np.ndarray, how: PoolParameters, backend: str | None) -> np.ndarray:
        x, dtype = _pooled(x)
        geometry = pool_geometry(x.shape, how)
        runner = registry.resolve(backend).select("max_pool2d_values", geometry, x.dtype)
        return _rounded(runner.max_pool2d_values(x, geometry), dtype)

    def max_pool2d_backward(self, grad: np.ndarray, indices: np.ndarray, size: Pair, backend: str | None) -> np.ndarray:
        (grad,), dtype = _operands(grad_output=grad)
        indices = _indices(indices, size, lowest=-1)
        same_shape("indices", indices.shape, grad.shape, "grad_output")
        runner = registry.resolve(backend).select("max_pool2d_backward", None, grad.dtype)
        return _rounded(runner.max_pool2d_backward(grad, indices, size), dtype)

    def avg_pool2d(self, x: np.ndarray, how: PoolParameters, backend: str | None) -> np.ndarray:
        (x,), dtype = _operands(input=x)
        geometry = pool_geometry(x.shape, how)
        runner = registry.resolve(backend).select("avg_pool2d", geometry, x.dtype)
        return _rounded(runner.avg_pool2d(x, geometry), dtype)

    def avg_pool2d_backward(
        self, grad: np.ndarray, size: Shape, how: PoolParameters, backend: str | None
    ) -> np.ndarray:
        (grad,), dtype = _operands(grad_output=grad)
        geometry = pool_geometry(size, how)
        same_shape("grad_output", grad.shape, geometry.output_shape, "the pooling's result")
        runner = registry.resolve(backend).select("avg_pool2d_backward", geometry, grad.dtype)
        return _rounded(runner.avg_pool2d_backward(grad, geometry), dtype)

    def adaptive_max_pool2d(self, x: np.ndarray, size: Pair, backend: str | None) -> tuple[np.ndarray, np.ndarray]:
        x, dtype = _pooled(x)
        geometry = adaptive_geometry(x.shape, size)
        runner = registry.resolve(backend).select("adaptive_max_pool2d", geometry, x.dtype)
        values, indices = runner.adaptive_max_pool2d(x, geometry)
        return _rounded(values, dtype), indices

    def adaptive_max_pool2d_values(self, x: np.ndarray, size: Pair, backend: str | None) -> np.ndarray:
        x, dtype = _pooled(x)
        geometry = adaptive_geometry(x.shape, size)
        runner = registry.resolve(backend).select("adaptive_max_pool2d_values", geometry, x.dtype)
        return _rounded(runner.adaptive_max_pool2d_values(x, geometry), dtype)

    def adaptive_avg_pool2d(self, x: np.ndarray, size: Pair, backend: str | None) -> np.ndarray:
        (x,), dtype = _operands(input=x)
        geometry = adaptive_geometry(x.shape, size)
        runner = registry.resolve(backend).select("adaptive_avg_pool2d", geometry, x.dtype)
        return _rounded(runner.adaptive_avg_pool2d(x, geometry), dtype)

    def unfold(self, x: np.ndarray, kernel: Pair, how: ConvParameters, backend: str | None) -> np.ndarray:
        (x,), dtype = _operands(input=x)
        geometry = unfold_geometry(x.shape, kernel, how, conv_geometry)
        return _rounded(registry.resolve(backend).select("unfold", geometry, x.dtype).unfold(x, geometry), dtype)

    def fold(
        self, columns: np.ndarray, size: Pair, kernel: Pair, how: ConvParameters, backend: str | None
    ) -> np.ndarray:
        (columns,), dtype = _operands(input=columns)
        geometry = fold_geometry(columns.shape, size, kernel, how, conv_geometry)
        runner = registry.resolve(backend).select("fold", geometry, columns.dtype)
        return _rounded(runner.fold(columns, geometry), dtype)

    def pad(self, x: np.ndarray, rows: int, columns: int) -> np.ndarray:
        widths = [(0, 0)] * (x.ndim - 2) + [(0, rows), (0, columns)]
        return np.pad(x, widths)

    def scatter(self, x: np.ndarray, indices: np.ndarray, size: Pair) -> np.ndarray:
        (x,), dtype = _operands(input=x)
        indices = _indices(indices, size, lowest=0)
        N, C, P, Q = x.shape
        planes = np.zeros((N, C, size[0] * size[1]), dtype)
        np.put_along_axis(planes, indices.reshape(N, C, P * Q), x.reshape(N, C, P * Q), 2)
        return planes.reshape(N, C, *size)

    def channel_sum(self, x: np.ndarray, channels: int, backend: str | None) -> np.ndarray:
        (x,), dtype = _operands(grad_output=x)
        if x.shape[1] == 0:
            return np.zeros(channels, dtype)
        return _rounded(registry.resolve(backend).channel_sum(x), dtype)

    @QUIET
    def add_bias(self, x: np.ndarray, b: np.ndarray) -> np.ndarray:
        x += b[:, None, None]
        return x

    @QUIET
    def power(self, x: np.ndarray, exponent: float) -> np.ndarray:
        return x**exponent

    @QUIET
    def root(self, x: np.ndarray, count: int, degree: float) -> np.ndarray:
        return (x * count) ** (1.0 / degree)

    def operands(self, **arrays: Any) -> tuple[list[Any], np.dtype]:
        return _operands(**arrays)

    def cast(self, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return _rounded(x, dtype)


def _operands(**arrays: np.ndarray | None) -> tuple[list[Any], np.dtype]:
    """Returns the arrays in the data type to compute in, native and aligned, and the data type of the result."""
    plain: list[Any] = []
    first: np.dtype | None = None
    for name, array in arrays.items():
        if array is None:
            plain.append(None)
            continue
        if type(array) is np.ndarray and array.dtype in _COMPUTED and array.dtype.isnative and array.flags.aligned:
            if first is None:
                first = array.dtype
            if array.dtype == first:
                plain.append(array)
                continue
        _check_kind(name, array)
        dtype = array.dtype.newbyteorder("=")
        if dtype not in _COMPUTED and dtype != _HALF:
            raise ArgumentTypeError(name, f"data type {array.dtype}", f"it must be {_FLOATS}")
        if first is None:
            first = dtype
        elif dtype != first:
            allowed = f"all operands must be of one data type, and {next(iter(arrays))} is {first}"
            raise ArgumentError(name, f"data type {array.dtype}", allowed)
        plain.append(np.require(array, _SINGLE if dtype == _HALF else dtype, ["ALIGNED", "ENSUREARRAY"]))
    assert first is not None
    return plain, first


def _pooled(x: np.ndarray) -> tuple[np.ndarray, np.dtype]:
    """Returns the operand of a max pooling, which may be of integers, and the data type of the result."""
    if x.dtype.kind not in "iub":
        (x,), dtype = _operands(input=x)
        return x, dtype
    dtype = x.dtype.newbyteorder("=")
    if dtype not in _INTEGERS:
        raise ArgumentTypeError(
            "input", f"data type {x.dtype}", f"it must be {_FLOATS}, or one of {', '.join(INTEGERS)}"
        )
    return np.require(x, dtype, ["ALIGNED", "ENSUREARRAY"]), dtype


def _indices(indices: np.ndarray, size: Pair, lowest: int) -> np.ndarray:
    """Returns the indices, int64, each inside a plane of ``size``."""
    _check_kind("indices", indices)
    if indices.dtype.newbyteorder("=") != np.int64:
        raise ArgumentTypeError("indices", f"data type {indices.dtype}", "it must be int64")
    indices = np.require(indices, np.int64, ["ALIGNED", "ENSUREARRAY"])
    pixels = size[0] * size[1]
    # Seen as unsigned, negative ones are the largest: one pass over the memory shows that all are allowed.
    if indices.size and indices.view(np.uint64).max() >= pixels:
        least, most = indices.min(), indices.max()
        if least < lowest or most >= pixels:
            worst = most if most >= pixels else least
            raise ArgumentError("indices", worst, f"they must be in a plane of {size}: below {pixels}, not negative")
    return indices


def _check_kind(name: str, array: Any) -> None:
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise ArgumentTypeError(name, type(array).__name__, "it must be a numpy.ndarray like the other operands")


def _rounded(result: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return result if result.dtype == dtype else _converted(result, dtype)


@QUIET
def _converted(result: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return result.astype(dtype)


register_kind(np.ndarray, NumpyOps())
