"""Arrays as users have them: any strides, any byte order, unaligned, read-only; and data types other than float32."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import fastconv
from tests import oracle
from tests.fuzz.calls import Call
from tests.fuzz.effort import examples
from tests.fuzz.functions import EVERY
from tests.fuzz.layouts import read_only, unaligned
from tests.tolerance import assert_equal

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "channels_last": lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "fortran": np.asfortranarray,
    "transposed_plane": lambda x: np.ascontiguousarray(x.swapaxes(2, 3)).swapaxes(2, 3),
    "sliced": lambda x: np.pad(x, [(1, 1), (0, 2), (1, 0), (2, 3)])[1:-1, :-2, 1:, 2:-3],
    "every_other": lambda x: np.repeat(x, 2, axis=3)[..., ::2],
    "negative": lambda x: np.ascontiguousarray(x[:, :, ::-1, ::-1])[:, :, ::-1, ::-1],
    "read_only": read_only,
    "unaligned": unaligned,
    "byte_swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "fortranread_only": lambda x: read_only(np.asfortranarray(x)),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_convolution(layout: Callable[..., Any], backend: str, dtype: str, draw) -> None:
    x, w, grad = draw(2, 4, 7, 6), draw(6, 2, 3, 2), draw(2, 6, 7, 5)
    how = {"groups": 2, "padding": (1, 0)}
    y = fastconv.conv2d(layout(x), layout(w), **how, backend=backend)
    assert y.dtype == dtype
    assert y.dtype.isnative
    assert_equal(y, oracle.conv2d(x, w, None, how))
    found = fastconv.conv2d_backward(layout(grad), layout(x), layout(w), **how, backend=backend)
    for mine, right in zip(found, oracle.conv2d_gradients(x, w, grad, how), strict=True):
        assert_equal(mine, right)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_pooling(layout: Callable[..., Any], backend: str, dtype: str, draw) -> None:
    x, grad = draw(2, 3, 8, 6), draw(2, 3, 4, 3)
    values, indices = fastconv.max_pool2d(x, 2, return_indices=True, backend=backend)
    for result, expected in [
        (fastconv.max_pool2d(layout(x), 2, backend=backend), values),
        (
            fastconv.max_pool2d_backward(layout(grad), layout(indices), x.shape, backend=backend),
            fastconv.max_pool2d_backward(grad, indices, x.shape, backend=backend),
        ),
        (fastconv.avg_pool2d(layout(x), 2, backend=backend), fastconv.avg_pool2d(x, 2, backend=backend)),
        (
            fastconv.avg_pool2d_backward(layout(grad), x.shape, 2, backend=backend),
            fastconv.avg_pool2d_backward(grad, x.shape, 2, backend=backend),
        ),
        (fastconv.unfold(layout(x), 3, backend=backend), fastconv.unfold(x, 3, backend=backend)),
    ]:
        assert result.dtype == dtype
        assert result.flags.c_contiguous
        np.testing.assert_array_equal(result, expected)


def test_zero_strides(backend: str, draw) -> None:
    """Broadcast operands, such as the gradient of a plain sum."""
    x, w = draw(2, 3, 6, 6), draw(4, 3, 3, 3)
    ones = np.broadcast_to(x.dtype.type(1), (2, 4, 4, 4))
    kernel = np.broadcast_to(w[:1], w.shape)
    assert_equal(fastconv.conv2d(x, kernel, backend=backend), oracle.conv2d(x, kernel, None, {}))
    found = fastconv.conv2d_backward(ones, x, kernel, backend=backend)
    for mine, right in zip(found, oracle.conv2d_gradients(x, kernel, ones, {}), strict=True):
        assert_equal(mine, right)


def test_results_own_their_memory(backend: str, draw) -> None:
    """Even where the operation could be a view."""
    x, one = draw(2, 1, 4, 4), np.ones((1, 1, 1, 1), draw(1).dtype)
    before = x.copy()
    for result in (
        fastconv.conv2d(x, one, backend=backend),
        fastconv.max_pool2d(x, 1, backend=backend),
        fastconv.avg_pool2d(x, 1, backend=backend),
        fastconv.unfold(x, 1, backend=backend),
        fastconv.adaptive_avg_pool2d(x, 4, backend=backend),
    ):
        assert not np.shares_memory(result, x)
        result[...] = 7
    np.testing.assert_array_equal(x, before)


class TestHalfPrecision:
    """float16 is computed in float32 and rounded once."""

    def test_convolution(self, backend: str) -> None:
        rng = np.random.default_rng(3)
        x, w, b = (rng.standard_normal(shape).astype(np.float16) for shape in ((2, 3, 6, 5), (4, 3, 3, 3), (4,)))
        y = fastconv.conv2d(x, w, b, padding=1, backend=backend)
        single = fastconv.conv2d(*(a.astype(np.float32) for a in (x, w, b)), padding=1, backend=backend)
        np.testing.assert_array_equal(y, single.astype(np.float16))

    def test_transposed_rounds_after_the_bias(self, backend: str) -> None:
        rng = np.random.default_rng(3)
        x, w, b = (rng.standard_normal(shape).astype(np.float16) for shape in ((2, 3, 6, 5), (3, 4, 3, 3), (4,)))
        y = fastconv.conv_transpose2d(x, w, b, backend=backend)
        single = fastconv.conv_transpose2d(*(a.astype(np.float32) for a in (x, w, b)), backend=backend)
        np.testing.assert_array_equal(y, single.astype(np.float16))

    @pytest.mark.parametrize("function", ["avg_pool2d", "adaptive_avg_pool2d"])
    def test_averages_do_not_overflow(self, function: str, backend: str) -> None:
        x = np.full((1, 1, 7, 7), 60000, np.float16)
        y = getattr(fastconv, function)(x, 3, backend=backend)
        assert y.dtype == np.float16
        np.testing.assert_array_equal(y, np.full_like(y, 60000))

    def test_overflow_is_infinite(self, backend: str) -> None:
        x, w = np.full((1, 1, 2, 2), 60000, np.float16), np.ones((1, 1, 2, 2), np.float16)
        np.testing.assert_array_equal(fastconv.conv2d(x, w, backend=backend), np.full((1, 1, 1, 1), np.inf))


class Upside(np.ndarray):
    """Indexes backwards, hides its sign, and would give its own kind."""

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index)[..., ::-1]

    def __abs__(self) -> Any:
        raise AssertionError("a plain array's would do")

    def __add__(self, other: Any) -> Any:
        raise AssertionError("a plain array's would do")


def memory_mapped(array: np.ndarray) -> np.ndarray:
    if array.size == 0:
        return array  # NumPy 2.0 can't map an empty file
    with tempfile.NamedTemporaryFile() as file:
        mapped = np.memmap(file, array.dtype, "w+", shape=array.shape)
    mapped[...] = array
    return mapped


SUBCLASSES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "upside": lambda x: x.view(Upside),
    "memmap": memory_mapped,
    "recarray": lambda x: x.view(np.recarray),
    "matrix": lambda x: x.view(np.matrix) if x.ndim == 2 else x,
}


@pytest.mark.parametrize("function", EVERY)
@pytest.mark.parametrize("kind", SUBCLASSES)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_subclasses(kind: str, function: str) -> None:
    """What a subclass of ndarray makes of indices and operators is its own: the values count, and results are plain."""

    @examples(10)
    @given(EVERY[function])
    def agrees(call: Call) -> None:
        operands = {name: a if a is None else SUBCLASSES[kind](a.copy()) for name, a in call.operands.items()}
        results = getattr(fastconv, function)(**operands, **call.arguments, backend="im2col")
        plain = getattr(fastconv, function)(**call.operands, **call.arguments, backend="im2col")
        results, plain = [r if isinstance(r, tuple) else (r,) for r in (results, plain)]
        for result, right in zip(results, plain, strict=True):
            assert type(result) is np.ndarray
            np.testing.assert_array_equal(result, right)

    agrees()
