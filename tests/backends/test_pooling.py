"""These tests compare max and average pooling of every backend, and their gradients, with torch in float64."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fastconv
from fastconv.backends.base import INTEGERS
from fastconv.torch import functional as tensors
from tests import oracle
from tests.cases import AVERAGES, MAX_POOLINGS, PoolCase, named
from tests.tolerance import assert_equal


@pytest.mark.parametrize("case", MAX_POOLINGS, ids=named)
def test_max(case: PoolCase, backend: str, dtype: str, draw, ran) -> None:
    x = draw(*case.x)
    before = x.copy()
    y, indices = fastconv.max_pool2d(x, case.kernel, **case.how, return_indices=True, backend=backend)
    assert ran == [(backend, "max_pool2d")]
    assert (y.dtype, indices.dtype) == (dtype, np.int64)
    expected, places = F.max_pool2d(oracle.tensor(x), case.kernel, **case.how, return_indices=True)
    np.testing.assert_array_equal(y, expected.detach().numpy())
    np.testing.assert_array_equal(indices, places.numpy())
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("case", MAX_POOLINGS, ids=named)
def test_max_backward(case: PoolCase, backend: str, dtype: str, draw, ran) -> None:
    x = draw(*case.x)
    leaf = oracle.tensor(x)
    result, places = F.max_pool2d(leaf, case.kernel, **case.how, return_indices=True)
    grad = draw(*result.shape)
    actual = fastconv.max_pool2d_backward(grad, places.numpy(), x.shape, backend=backend)
    assert ran == [(backend, "max_pool2d_backward")]
    assert actual.dtype == dtype
    assert_equal(actual, oracle.gradients(result, (leaf,), grad)[0])


@pytest.mark.parametrize(("case", "extra"), AVERAGES, ids=[named(pair) for pair in AVERAGES])
def test_average(case: PoolCase, extra: dict[str, Any], backend: str, dtype: str, draw, ran) -> None:
    x = draw(*case.x)
    y = fastconv.avg_pool2d(x, case.kernel, **case.how, **extra, backend=backend)
    assert ran == [(backend, "avg_pool2d")]
    assert y.dtype == dtype
    assert_equal(y, F.avg_pool2d(oracle.tensor(x), case.kernel, **case.how, **extra).detach().numpy())


@pytest.mark.parametrize(("case", "extra"), AVERAGES, ids=[named(pair) for pair in AVERAGES])
def test_average_backward(case: PoolCase, extra: dict[str, Any], backend: str, dtype: str, draw, ran) -> None:
    leaf = oracle.tensor(draw(*case.x))
    result = F.avg_pool2d(leaf, case.kernel, **case.how, **extra)
    grad = draw(*result.shape)
    actual = fastconv.avg_pool2d_backward(grad, case.x, case.kernel, **case.how, **extra, backend=backend)
    assert ran == [(backend, "avg_pool2d_backward")]
    assert actual.dtype == dtype
    assert_equal(actual, oracle.gradients(result, (leaf,), grad)[0])


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("case", MAX_POOLINGS, ids=named)
def test_max_of_integers(case: PoolCase, name: str, backend: str, ran) -> None:
    """Images hold the largest and smallest numbers of the type, which float64 can't all hold, and many equal ones."""
    limits = np.iinfo(name)
    extremes = [limits.min, limits.min + 1, limits.max - 1, limits.max]
    x = np.random.default_rng(1).choice(np.array(extremes, name), case.x)
    call = partial(fastconv.max_pool2d, kernel_size=case.kernel, **case.how, return_indices=True, backend=backend)
    if backend == "cuda":
        with pytest.raises(fastconv.UnsupportedError, match="max pooling is of floats alone"):
            call(x)
        return
    expected, places = F.max_pool2d(torch.from_numpy(x), case.kernel, **case.how, return_indices=True)
    y, indices = call(x[..., ::-1].copy()[..., ::-1])
    assert ran == [(backend, "max_pool2d")]
    assert (y.dtype, indices.dtype) == (name, np.int64)
    np.testing.assert_array_equal(y, expected.numpy())
    np.testing.assert_array_equal(indices, places.numpy())
    values = fastconv.max_pool2d(x.astype(x.dtype.newbyteorder()), case.kernel, **case.how, backend=backend)
    assert values.dtype == name
    np.testing.assert_array_equal(values, expected.numpy())


@pytest.mark.parametrize("name", INTEGERS)
def test_max_of_integers_in_tensors(name: str, backend: str) -> None:
    """Layouts include channels_last, where torch counts pixels in the type itself: 255 of uint8 are too many for it."""
    if backend == "cuda":
        pytest.skip("of floats alone")
    limits = torch.iinfo(getattr(torch, name))
    x = torch.randint(limits.min, limits.max, (2, 3, 17, 18), dtype=getattr(torch, name))
    expected = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    for layout in (torch.contiguous_format, torch.channels_last):
        found = tensors.max_pool2d(x.to(memory_format=layout), 3, 2, 1, return_indices=True, backend=backend)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        assert all(each.is_contiguous(memory_format=layout) for each in found)
        assert torch.equal(tensors.max_pool2d(x.to(memory_format=layout), 3, 2, 1, backend=backend), expected[0])


@pytest.mark.parametrize("name", INTEGERS)
def test_other_max_poolings_of_integers(name: str, backend: str) -> None:
    if backend == "cuda":
        pytest.skip("of floats alone")
    x = np.random.default_rng(2).integers(0, 100, (2, 3, 7, 6)).astype(name)
    exact = torch.from_numpy(x.astype(np.float64))
    for function, lines, size in (
        ("max_pool1d", (0,), 3),
        ("adaptive_max_pool1d", (0,), 4),
        ("adaptive_max_pool2d", (), 3),
        ("adaptive_max_pool2d", (), 4),
    ):
        found = getattr(fastconv, function)(x[lines], size, return_indices=True, backend=backend)
        right = getattr(F, function)(exact[lines], size, return_indices=True)
        assert found[0].dtype == name
        for mine, theirs in zip(found, right, strict=True):
            np.testing.assert_array_equal(mine, theirs.numpy())


SPECIAL = {
    "equal": [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]],
    "nan_first": [[np.nan, 2, 3, 4], [5, 6, 7, 8], [9, 8, 7, 6], [5, 4, 3, np.nan]],
    "nan_twice": [[np.nan, np.nan, 3, 4], [np.nan, 6, np.nan, 8], [9, np.nan, 7, 6], [5, 4, 3, np.nan]],
    "minus_infinity": [[-np.inf] * 4] * 4,
    "both_infinities": [[-np.inf, np.inf, 1, np.inf], [np.inf, np.inf, 1, 1], [0, 0, 0, 0], [-np.inf, 1, 1, np.inf]],
    "signed_zeros": [[-0.0, 0.0, 0.0, -0.0]] * 4,
}


@pytest.mark.parametrize("values", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("how", [{"stride": 2}, {"stride": 1, "padding": 1}, {"stride": 1}], ids=str)
def test_special_values_in_max(values: list[list[float]], how: dict[str, int], backend: str, dtype: str) -> None:
    """Ties go to the first, NaN wins and the last one's index is given, padding never wins over the image."""
    x = np.array(values, dtype)[None, None]
    y, indices = fastconv.max_pool2d(x, 2, **how, return_indices=True, backend=backend)
    expected, places = F.max_pool2d(torch.from_numpy(x), 2, **how, return_indices=True)
    np.testing.assert_array_equal(y, expected.numpy())
    np.testing.assert_array_equal(indices, places.numpy())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_special_values_stay_in_their_windows(value: float, backend: str, draw) -> None:
    x = draw(1, 2, 6, 6)
    x[0, 1, 2, 3] = value
    y = fastconv.avg_pool2d(x, 3, 2, 1, backend=backend)
    assert_equal(y, F.avg_pool2d(oracle.tensor(x), 3, 2, 1).detach().numpy())


def test_a_window_of_padding_alone(backend: str, dtype: str) -> None:
    """Dilation can step over the whole image: minus infinity, the index -1, and no gradient."""
    x = np.arange(9, dtype=dtype).reshape(1, 1, 3, 3)
    y, indices = fastconv.max_pool2d(x, (2, 1), (1, 1), (1, 0), (4, 1), return_indices=True, backend=backend)
    np.testing.assert_array_equal(y[0, 0], [[-np.inf] * 3])
    np.testing.assert_array_equal(indices, np.full((1, 1, 1, 3), -1))
    grad = fastconv.max_pool2d_backward(np.ones_like(y), indices, x.shape, backend=backend)
    np.testing.assert_array_equal(grad, np.zeros_like(x))
    if backend != "cuda":
        y, indices = fastconv.max_pool2d(
            x.astype(np.int16), (2, 1), 1, (1, 0), (4, 1), return_indices=True, backend=backend
        )
        np.testing.assert_array_equal(y[0, 0], [[-(2**15)] * 3])
        np.testing.assert_array_equal(indices, np.full((1, 1, 1, 3), -1))


@pytest.mark.parametrize("index", [-2, 36, 2**40])
def test_foreign_indices_are_refused(index: int, backend: str, draw) -> None:
    indices = np.zeros((1, 2, 3, 3), np.int64)
    indices[0, 1, 2, 2] = index
    with pytest.raises(RuntimeError, match=r"indices: got .* plane of \(6, 6\)"):
        fastconv.max_pool2d_backward(draw(1, 2, 3, 3), indices, (1, 2, 6, 6), backend=backend)
