"""What the API needs of arrays that show GPU memory (``__cuda_array_interface__``): CuPy's, Numba's, our own.

The primitives run on the arrays' memory and give `DeviceArray`s, which all those libraries take without a copy.
Operations that need other arithmetic are refused with a hint to torch: ``torch.as_tensor(array, device="cuda")`` shares
the memory too.
"""

from __future__ import annotations

from typing import Any, NoReturn

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
from fastconv.arrays import Shape, register_interface
from fastconv.backends.numba_cuda.device_array import DeviceArray
from fastconv.errors import ArgumentError, ArgumentTypeError, UnsupportedError
from fastconv.geometry import ConvParameters, Pair, PoolParameters

_TYPES = ("float32", "float64", "float16")


class CudaOps:
    """`fastconv.arrays.ArrayOps` for arrays that show GPU memory."""

    def conv2d(self, x: Any, w: Any, b: Any, how: ConvParameters, backend: str | None) -> Any:
        (x, w, b), _ = self.operands(input=x, weight=w, bias=b)
        geometry = conv_geometry(x.shape, w.shape, None if b is None else b.shape, how)
        return _runner(backend, "conv2d", geometry, x).conv2d(x, w, b, geometry)

    def plan_conv2d(self, shape: Shape, w: Any, b: Any, how: ConvParameters, backend: str | None) -> NoReturn:
        allowed = "plans are for numpy.ndarray, and for torch.Tensor on the CPU"
        raise ArgumentTypeError("weight", type(w).__name__, allowed)

    def conv2d_input(self, size: Shape, w: Any, grad: Any, how: ConvParameters, backend: str | None) -> Any:
        (w, grad), _ = self.operands(weight=w, grad_output=grad)
        geometry = conv_geometry(size, w.shape, None, how)
        same_shape("grad_output", grad.shape, geometry.output_shape, "the convolution's result")
        return _runner(backend, "conv2d_input", geometry, grad).conv2d_input(grad, w, geometry)

    def conv2d_weight(self, x: Any, size: Shape, grad: Any, how: ConvParameters, backend: str | None) -> Any:
        (x, grad), _ = self.operands(input=x, grad_output=grad)
        geometry = conv_geometry(x.shape, size, None, how)
        same_shape("grad_output", grad.shape, geometry.output_shape, "the convolution's result")
        return _runner(backend, "conv2d_weight", geometry, x).conv2d_weight(x, grad, geometry)

    def max_pool2d(self, x: Any, how: PoolParameters, backend: str | None) -> tuple[Any, Any]:
        (x,), _ = self.operands(input=x)
        geometry = pool_geometry(x.shape, how)
        return _runner(backend, "max_pool2d", geometry, x).max_pool2d(x, geometry)

    def max_pool2d_values(self, x: Any, how: PoolParameters, backend: str | None) -> Any:
        (x,), _ = self.operands(input=x)
        geometry = pool_geometry(x.shape, how)
        return _runner(backend, "max_pool2d_values", geometry, x).max_pool2d_values(x, geometry)

    def max_pool2d_backward(self, grad: Any, indices: Any, size: Pair, backend: str | None) -> Any:
        (grad,), _ = self.operands(grad_output=grad)
        places = _checked_indices(indices, size)
        same_shape("indices", places.shape, grad.shape, "grad_output")
        runner = _runner(backend, "max_pool2d_backward", None, grad)
        return runner.max_pool2d_backward(grad, places, size)

    def avg_pool2d(self, x: Any, how: PoolParameters, backend: str | None) -> Any:
        (x,), _ = self.operands(input=x)
        geometry = pool_geometry(x.shape, how)
        return _runner(backend, "avg_pool2d", geometry, x).avg_pool2d(x, geometry)

    def avg_pool2d_backward(self, grad: Any, size: Shape, how: PoolParameters, backend: str | None) -> Any:
        (grad,), _ = self.operands(grad_output=grad)
        geometry = pool_geometry(size, how)
        same_shape("grad_output", grad.shape, geometry.output_shape, "the pooling's result")
        return _runner(backend, "avg_pool2d_backward", geometry, grad).avg_pool2d_backward(grad, geometry)

    def adaptive_max_pool2d(self, x: Any, size: Pair, backend: str | None) -> tuple[Any, Any]:
        return self.max_pool2d(x, _uniform(x, size), backend)

    def adaptive_max_pool2d_values(self, x: Any, size: Pair, backend: str | None) -> Any:
        return self.max_pool2d_values(x, _uniform(x, size), backend)

    def adaptive_avg_pool2d(self, x: Any, size: Pair, backend: str | None) -> Any:
        return self.avg_pool2d(x, _uniform(x, size), backend)

    def unfold(self, x: Any, kernel: Pair, how: ConvParameters, backend: str | None) -> Any:
        (x,), _ = self.operands(input=x)
        geometry = unfold_geometry(x.shape, kernel, how, conv_geometry)
        return _runner(backend, "unfold", geometry, x).unfold(x, geometry)

    def fold(self, columns: Any, size: Pair, kernel: Pair, how: ConvParameters, backend: str | None) -> Any:
        (columns,), _ = self.operands(input=columns)
        geometry = fold_geometry(columns.shape, size, kernel, how, conv_geometry)
        return _runner(backend, "fold", geometry, columns).fold(columns, geometry)

    def channel_sum(self, x: Any, channels: int, backend: str | None) -> Any:
        (x,), _ = self.operands(grad_output=x)
        return _calls().channel_sum(x, channels)

    def add_bias(self, x: Any, b: Any) -> Any:
        return _calls().add_bias(x, b)

    def operands(self, **arrays: Any) -> tuple[list[Any], np.dtype]:
        plain: list[Any] = []
        first: np.dtype | None = None
        for name, array in arrays.items():
            if array is None:
                plain.append(None)
                continue
            given = view(name, array)
            if given.dtype.name not in _TYPES or not given.dtype.isnative:
                raise ArgumentTypeError(name, f"data type {given.dtype}", f"it must be {', '.join(_TYPES)}")
            if first is None:
                first = given.dtype
            elif given.dtype != first:
                allowed = f"all operands must be of one data type, and {next(iter(arrays))} is {first}"
                raise ArgumentError(name, f"data type {given.dtype}", allowed)
            plain.append(given)
        assert first is not None
        return plain, first

    def cast(self, x: Any, dtype: np.dtype) -> Any:
        return x

    def pad(self, x: Any, rows: int, columns: int) -> Any:
        _by_torch("padding at one end (output_padding of a stride or more, adaptive pooling to no pixels)")

    def scatter(self, x: Any, indices: Any, size: Pair) -> Any:
        _by_torch("max_unpool2d")

    def power(self, x: Any, exponent: float) -> Any:
        _by_torch("L^p pooling")

    def root(self, x: Any, count: int, degree: float) -> Any:
        _by_torch("L^p pooling")


def view(name: str, array: Any) -> DeviceArray:
    """Returns the array as a `DeviceArray` on the same memory; raises TypeError if it doesn't lie on a GPU."""
    if not isinstance(array, DeviceArray) and not hasattr(array, "__cuda_array_interface__"):
        allowed = "it must be an array in GPU memory like the other operands"
        raise ArgumentTypeError(name, f"{type(array).__module__}.{type(array).__qualname__}", allowed)
    return DeviceArray.of(array)


def _uniform(x: Any, size: Pair) -> PoolParameters:
    """The plain pooling that an adaptive one to windows of one size is."""
    pooling = adaptive_geometry(view("input", x).shape, size).uniform
    if pooling is None:
        _by_torch("adaptive pooling to windows of different sizes")
    return PoolParameters((pooling.R, pooling.S), pooling.stride)


def _runner(backend: str | None, operation: str, geometry: Any, operand: DeviceArray) -> Any:
    return registry.resolve(backend).select(operation, geometry, operand.dtype, "cuda")


def _calls() -> Any:
    from fastconv.backends.numba_cuda.calls import Calls

    return Calls(None)


def _checked_indices(indices: Any, size: Pair) -> DeviceArray:
    given = view("indices", indices)
    if given.dtype != np.int64:
        raise ArgumentTypeError("indices", f"data type {given.dtype}", "it must be int64")
    # A caller may have made them in any way, so they are checked, though that waits for the GPU.
    listed = given.copy_to_host()
    pixels = size[0] * size[1]
    if listed.size and (listed.min() < -1 or listed.max() >= pixels):
        worst = listed.max() if listed.max() >= pixels else listed.min()
        raise ArgumentError("indices", worst, f"they must be in a plane of {size}: below {pixels}, not negative")
    return given


def _by_torch(what: str) -> NoReturn:
    raise UnsupportedError(
        f"{what} is done for NumPy's arrays and torch's tensors: "
        'torch.as_tensor(array, device="cuda") shares the memory of any array on a GPU'
    )


register_interface("__cuda_array_interface__", CudaOps())
