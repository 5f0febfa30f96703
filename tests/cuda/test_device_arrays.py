"""Arrays that show GPU memory (``__cuda_array_interface__``): used where they are, of any strides; results likewise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fastconv
from fastconv import ArgumentError, ArgumentTypeError, UnsupportedError
from fastconv.backends.numba_cuda.device_array import DeviceArray
from tests.tolerance import assert_equal


class Shown:
    """Another library's array: in the simulator the processor's memory is the GPU's."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array  # kept alive
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "strides": None if array.flags.c_contiguous else array.strides,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "version": 3,
        }

    def __getitem__(self, index: Any) -> Any:
        return Shown(self.array[index])


def drawn(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


X, W, B = drawn(2, 4, 7, 6), drawn(6, 2, 3, 3), drawn(6)
HOW = {"stride": (2, 1), "padding": 1, "groups": 2}


def host(array: Any) -> np.ndarray:
    assert isinstance(array, DeviceArray)
    return array.copy_to_host()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", [None, "cuda"])
def test_convolution(dtype: str, name: str | None) -> None:
    x, w, b = (array.astype(dtype) for array in (X, W, B))
    y = host(fastconv.conv2d(Shown(x), Shown(w), Shown(b), **HOW, backend=name))
    tensors = [torch.from_numpy(array).double() for array in (x, w, b)]
    right = F.conv2d(*tensors, **HOW).numpy()
    assert y.dtype == dtype
    assert_equal(y, right)


@pytest.mark.parametrize(
    "layout",
    [
        lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        lambda a: np.repeat(a, 2, 3)[..., ::2],
        lambda a: np.ascontiguousarray(a[::-1, :, ::-1])[::-1, :, ::-1],
        lambda a: np.pad(a, 2)[2:-2, 2:-2, 2:-2, 2:-2],
    ],
    ids=["channels_last", "every_other", "backwards", "a_part"],
)
def test_any_strides(layout: Any) -> None:
    x, w = layout(X), layout(W)
    np.testing.assert_array_equal(x, X)
    found = host(fastconv.conv2d(Shown(x), Shown(w), **HOW, backend="cuda"))
    np.testing.assert_array_equal(found, fastconv.conv2d(X, W, **HOW, backend="cuda"))


def test_gradients() -> None:
    y = fastconv.conv2d(X, W, B, **HOW)
    grad = drawn(*y.shape)
    found = fastconv.conv2d_backward(Shown(grad), Shown(X), Shown(W), **HOW, backend="cuda")
    right = fastconv.conv2d_backward(*(array.astype("float64") for array in (grad, X, W)), **HOW, backend="naive")
    for mine, exact in zip(found, right, strict=True):
        assert_equal(host(mine), exact)


def test_transposed_with_a_bias() -> None:
    x, w, b = drawn(2, 3, 4, 5), drawn(3, 2, 3, 3), drawn(2)
    found = host(fastconv.conv_transpose2d(Shown(x), Shown(w), Shown(b), stride=2, backend="cuda"))
    right = F.conv_transpose2d(*(torch.from_numpy(array).double() for array in (x, w, b)), stride=2)
    assert_equal(found, right.numpy())


def test_unbatched_lines() -> None:
    x, w = drawn(3, 9), drawn(4, 3, 3)
    found = fastconv.conv1d(Shown(x), Shown(w), padding=1, backend="cuda")
    assert found.shape == (4, 9)
    right = F.conv1d(torch.from_numpy(x).double(), torch.from_numpy(w).double(), padding=1)
    assert_equal(host(found), right.numpy())


def test_pooling() -> None:
    y, indices = fastconv.max_pool2d(Shown(X), 3, 2, 1, return_indices=True, backend="cuda")
    right, places = F.max_pool2d(torch.from_numpy(X), 3, 2, 1, return_indices=True)
    np.testing.assert_array_equal(host(y), right.numpy())
    np.testing.assert_array_equal(host(indices), places.numpy())
    grad = drawn(*y.shape)
    back = fastconv.max_pool2d_backward(Shown(grad), indices, X.shape, backend="cuda")
    assert_equal(host(back), fastconv.max_pool2d_backward(grad.astype("float64"), host(indices), X.shape))
    mean = fastconv.avg_pool2d(Shown(X), 3, 2, 1, backend="cuda")
    assert_equal(host(mean), F.avg_pool2d(torch.from_numpy(X).double(), 3, 2, 1).numpy())
    back = fastconv.avg_pool2d_backward(Shown(grad), X.shape, 3, 2, 1, backend="cuda")
    assert_equal(host(back), fastconv.avg_pool2d_backward(grad.astype("float64"), X.shape, 3, 2, 1))
    np.testing.assert_array_equal(
        host(fastconv.adaptive_max_pool2d(Shown(X), (7, 3))), fastconv.adaptive_max_pool2d(X, (7, 3))
    )


def test_columns() -> None:
    found = fastconv.unfold(Shown(X), 3, padding=1, stride=2, backend="cuda")
    np.testing.assert_array_equal(host(found), fastconv.unfold(X, 3, padding=1, stride=2))
    folded = fastconv.fold(found, (7, 6), 3, padding=1, stride=2, backend="cuda")
    assert_equal(host(folded), fastconv.fold(host(found).astype("float64"), (7, 6), 3, padding=1, stride=2))


@pytest.mark.parametrize(
    "index", [1, (0, 2), (..., slice(1, 3)), (slice(None), None), (slice(None, None, -1), 1)], ids=str
)
def test_results_are_shared_and_indexed_without_a_copy(index: Any) -> None:
    y = fastconv.conv2d(Shown(X), Shown(W), groups=2, backend="cuda")
    whole = host(y)
    part, right = y[index], whole[index]
    assert (part.shape, part.strides) == (right.shape, right.strides)
    interface = part.__cuda_array_interface__
    assert interface["data"][0] - y.address == right.__array_interface__["data"][0] - whole.ctypes.data
    assert (interface["strides"] is None) == part.is_contiguous
    assert interface["version"] == 3
    assert repr(y) == "DeviceArray(shape=(2, 6, 5, 4), dtype=float32)"


def test_what_is_refused() -> None:
    with pytest.raises(
        ArgumentTypeError, match=r"input: got data type int32, but it must be float32, float64, float16"
    ):
        fastconv.conv2d(Shown(X.astype("int32")), Shown(W), groups=2, backend="cuda")
    with pytest.raises(ArgumentError, match=r"weight: got data type float64, but all operands .* input is float32"):
        fastconv.conv2d(Shown(X), Shown(W.astype("float64")), groups=2, backend="cuda")
    with pytest.raises(ArgumentTypeError, match=r"weight: got numpy.ndarray, but it must be an array in GPU memory"):
        fastconv.conv2d(Shown(X), W, groups=2, backend="cuda")
    with pytest.raises(UnsupportedError, match=r"'numba' computes on cpu, and the operands are on cuda"):
        fastconv.conv2d(Shown(X), Shown(W), groups=2, backend="numba")
    with pytest.raises(UnsupportedError, match=r"max_unpool2d is done for .* torch.as_tensor"):
        fastconv.max_unpool2d(Shown(X), Shown(np.zeros(X.shape, np.int64)), 2)
    with pytest.raises(UnsupportedError, match=r"L\^p pooling"):
        fastconv.lp_pool2d(Shown(X), 2, 2)
    with pytest.raises(UnsupportedError, match=r"windows of different sizes"):
        fastconv.adaptive_avg_pool2d(Shown(X), 4)
    grad, far = drawn(2, 4, 3, 3), np.full((2, 4, 3, 3), 42)
    with pytest.raises(ArgumentError, match=r"indices: got 42, but they must be in a plane of \(7, 6\): below 42"):
        fastconv.max_pool2d_backward(Shown(grad), Shown(far), X.shape, backend="cuda")
    with pytest.raises(ArgumentTypeError, match=r"indices: got data type int32"):
        fastconv.max_pool2d_backward(Shown(grad), Shown(far.astype("int32")), X.shape, backend="cuda")
