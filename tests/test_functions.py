"""Every function of the API on arrays and on tensors, values and gradients, against torch's function of that name."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fastconv
from fastconv.torch import functional as ours
from tests import oracle
from tests.functions import CALLS, Call
from tests.tolerance import assert_equal

NAMES = sorted({call.function for call in CALLS})


@pytest.fixture(params=CALLS, ids=lambda call: call.name)
def call(request: pytest.FixtureRequest) -> Call:
    return request.param


def _arrays(call: Call, draw: Any) -> list[np.ndarray]:
    return [draw(*shape) for shape in call.shapes]


def test_values_on_arrays(call: Call, backend: str, dtype: str, draw, ran) -> None:
    arrays = _arrays(call, draw)
    copies = [array.copy() for array in arrays]
    result = getattr(fastconv, call.function)(*arrays, *call.args, **call.how, backend=backend)
    expected = getattr(F, call.function)(*map(oracle.tensor, arrays), *call.args, **call.how)
    assert {name for name, _ in ran} == {backend} or expected.numel() == 0
    assert result.dtype == dtype
    assert_equal(result, expected.detach().numpy())
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
        assert not np.shares_memory(result, array)


def test_values_and_gradients_on_tensors(call: Call, backend: str, dtype: str, draw, ran) -> None:
    arrays = _arrays(call, draw)
    leaves = [torch.from_numpy(array).requires_grad_() for array in arrays]
    exact = [oracle.tensor(array) for array in arrays]
    result = getattr(ours, call.function)(*leaves, *call.args, **call.how, backend=backend)
    expected = getattr(F, call.function)(*exact, *call.args, **call.how)
    assert_equal(result.detach(), expected.detach().numpy())
    cotangent = draw(*expected.shape)
    found = torch.autograd.grad(result, leaves, torch.from_numpy(cotangent))
    assert {name for name, _ in ran} == {backend} or expected.numel() == 0
    for mine, right in zip(found, oracle.gradients(expected, tuple(exact), cotangent), strict=True):
        assert_equal(mine, right, "gradient")


def test_gradcheck(call: Call, backend: str) -> None:
    """First and second derivatives against differences, in float64, on inputs without ties."""
    generator = torch.Generator().manual_seed(3)
    leaves = [_distinct(shape, generator) for shape in call.shapes]
    if call.function.startswith("lp_pool"):
        leaves = [(leaf.detach().abs() + 0.5).requires_grad_() for leaf in leaves]

    def function(*tensors: torch.Tensor) -> torch.Tensor:
        return getattr(ours, call.function)(*tensors, *call.args, **call.how, backend=backend)

    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


def _distinct(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Elements at least 0.1 apart, so that a difference of 1e-6 moves no maximum."""
    count = int(np.prod(shape))
    order = torch.randperm(count, generator=generator).double()
    return ((order - count / 2) / 10).reshape(shape).requires_grad_()


@pytest.mark.parametrize("name", [name for name in NAMES if "max_pool" in name])
def test_indices(name: str, backend: str, draw) -> None:
    dims = int(name[-2])
    x = draw(2, 3, 11) if dims == 1 else draw(2, 3, 11, 7)
    size = 4 if "adaptive" in name else 3
    _, indices = getattr(fastconv, name)(x, size, return_indices=True, backend=backend)
    expected = getattr(F, name)(torch.from_numpy(x), size, return_indices=True)[1]
    np.testing.assert_array_equal(indices, expected.numpy())


@pytest.mark.parametrize("output_size", [(4, 3), (7, 3), (4, 7), (11, 9)])
def test_indices_of_equal_pixels_and_nan(output_size: tuple[int, int], backend: str) -> None:
    """Of equal pixels the first in row-major order, of several NaN the last, as torch has it."""
    x = np.random.default_rng(4).integers(0, 3, (2, 3, 11, 7)).astype(np.float32)
    x[0, 0, 3:6, 2:4] = np.nan
    x[1, 2] = -np.inf
    values, indices = fastconv.adaptive_max_pool2d(x, output_size, return_indices=True, backend=backend)
    expected = F.adaptive_max_pool2d(torch.from_numpy(x), output_size, return_indices=True)
    np.testing.assert_array_equal(values, expected[0].numpy())
    np.testing.assert_array_equal(indices, expected[1].numpy())


@pytest.mark.parametrize("unbatched", [False, True])
@pytest.mark.parametrize("output_size", [None, (7, 8)])
def test_unpool(unbatched: bool, output_size: tuple[int, int] | None, backend: str, draw) -> None:
    x = draw(3, 7, 8) if unbatched else draw(2, 3, 7, 8)
    values, indices = fastconv.max_pool2d(x, 2, return_indices=True, backend=backend)
    if output_size is None:
        indices = np.minimum(indices, 6 * 8 - 1)
    result = fastconv.max_unpool2d(values, indices, 2, output_size=output_size, backend=backend)
    expected = F.max_unpool2d(torch.from_numpy(values), torch.from_numpy(indices), 2, output_size=output_size)
    np.testing.assert_array_equal(result, expected.numpy())


def test_unpool_gradient(backend: str) -> None:
    leaf = _distinct((2, 3, 6, 8), torch.Generator().manual_seed(5))

    def round_trip(x: torch.Tensor) -> torch.Tensor:
        values, indices = ours.max_pool2d(x, 2, return_indices=True, backend=backend)
        return ours.max_unpool2d(values, indices, 2, backend=backend)

    assert torch.autograd.gradcheck(round_trip, [leaf], fast_mode=True)
    assert torch.autograd.gradgradcheck(round_trip, [leaf], fast_mode=True)


def test_two_sided_padding_of_lines(backend: str, draw) -> None:
    x, w = draw(2, 3, 9), draw(4, 3, 3)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 3)])
    expected = F.conv1d(oracle.tensor(padded), oracle.tensor(w)).detach().numpy()
    assert_equal(fastconv.conv1d(x, w, padding=(1, 3), backend=backend), expected)


@pytest.mark.parametrize("name", [*NAMES, "max_unpool2d"])
def test_signature_is_torchs(name: str) -> None:
    """Same names, order and defaults, then ``backend=None``; for functions that torch has in C, by their docs."""
    mine = list(inspect.signature(getattr(fastconv, name)).parameters.values())
    assert (mine[-1].name, mine[-1].default, mine[-1].kind) == ("backend", None, inspect.Parameter.KEYWORD_ONLY)
    theirs = SIGNATURES[name]
    assert [
        parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default}"
        for parameter in mine[:-1]
    ] == theirs.split(", ")


_CONV = "input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1"
_TRANSPOSED = "input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1"
_MAX = "input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False"
_AVERAGE = "input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True"
SIGNATURES = {
    "conv1d": _CONV,
    "conv2d": _CONV,
    "conv_transpose1d": _TRANSPOSED,
    "conv_transpose2d": _TRANSPOSED,
    "max_pool1d": _MAX,
    "max_pool2d": _MAX,
    "avg_pool1d": _AVERAGE,
    "avg_pool2d": f"{_AVERAGE}, divisor_override=None",
    "adaptive_avg_pool1d": "input, output_size",
    "adaptive_avg_pool2d": "input, output_size",
    "adaptive_max_pool1d": "input, output_size, return_indices=False",
    "adaptive_max_pool2d": "input, output_size, return_indices=False",
    "lp_pool1d": "input, norm_type, kernel_size, stride=None, ceil_mode=False",
    "lp_pool2d": "input, norm_type, kernel_size, stride=None, ceil_mode=False",
    "max_unpool2d": "input, indices, kernel_size, stride=None, padding=0, output_size=None",
    "unfold": "input, kernel_size, dilation=1, padding=0, stride=1",
    "fold": "input, output_size, kernel_size, dilation=1, padding=0, stride=1",
}
"""From torch's documentation: most of these functions are written in C++ and have no signature to inspect."""
