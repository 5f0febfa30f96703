"""These tests compare adaptive pooling of every backend, values and gradients, with torch in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fastconv
from fastconv import registry
from fastconv.adaptive_geometry import AdaptiveGeometry
from fastconv.torch import functional as ours
from tests import oracle
from tests.tolerance import assert_equal

SIZES = {
    "windows wider than a vector": ((1, 2, 9, 57), (2, 3)),
    "narrow windows": ((2, 3, 13, 10), (6, 7)),
    "rows divide": ((1, 2, 8, 11), (2, 4)),
    "columns divide": ((1, 2, 11, 8), (3, 2)),
    "one row of windows": ((2, 1, 9, 11), (1, 4)),
    "one column of windows": ((2, 1, 9, 11), (4, 1)),
    "more windows than pixels": ((1, 2, 5, 7), (13, 9)),
    "several windows on each pixel": ((2, 1, 2, 3), (7, 8)),
    "all windows on one pixel": ((2, 2, 1, 1), (3, 2)),
    "one pixel less": ((1, 2, 8, 9), (7, 8)),
    "no images": ((0, 2, 7, 9), (3, 2)),
}

sizes = pytest.mark.parametrize(("shape", "output_size"), SIZES.values(), ids=SIZES)


@sizes
def test_average(shape: tuple[int, ...], output_size: tuple[int, int], backend: str, dtype: str, draw, ran) -> None:
    x = draw(*shape)
    leaf, exact = torch.from_numpy(x).requires_grad_(), oracle.tensor(x)
    result = ours.adaptive_avg_pool2d(leaf, output_size, backend=backend)
    expected = F.adaptive_avg_pool2d(exact, output_size)
    grad = draw(*expected.shape)
    (found,) = torch.autograd.grad(result, leaf, torch.from_numpy(grad))
    assert {name for name, _ in ran} == {backend}
    assert_equal(result.detach(), expected.detach().numpy())
    assert_equal(found, oracle.gradients(expected, (exact,), grad)[0], "gradient")
    np.testing.assert_array_equal(fastconv.adaptive_avg_pool2d(x, output_size, backend=backend), result.detach())


@sizes
def test_max(shape: tuple[int, ...], output_size: tuple[int, int], backend: str, dtype: str, draw, ran) -> None:
    x = draw(*shape)
    leaf, exact = torch.from_numpy(x).requires_grad_(), oracle.tensor(x)
    values, indices = ours.adaptive_max_pool2d(leaf, output_size, return_indices=True, backend=backend)
    expected, places = F.adaptive_max_pool2d(exact, output_size, return_indices=True)
    grad = draw(*expected.shape)
    (found,) = torch.autograd.grad(values, leaf, torch.from_numpy(grad))
    assert {name for name, _ in ran} == {backend}
    np.testing.assert_array_equal(values.detach(), expected.detach())
    np.testing.assert_array_equal(indices, places)
    assert_equal(found, oracle.gradients(expected, (exact,), grad)[0], "gradient")
    np.testing.assert_array_equal(fastconv.adaptive_max_pool2d(x, output_size, backend=backend), values.detach())


def test_nan_and_infinities_stay_in_their_windows(backend: str, dtype: str, draw) -> None:
    x, grad = draw(1, 2, 13, 10), draw(1, 2, 6, 7)
    x[0, 0, 4, 3], x[0, 0, 8, 7], x[0, 1, 12, 9] = np.nan, np.inf, -np.inf
    grad[0, 0, 2, 3], grad[0, 1, 5, 6] = np.nan, np.inf
    leaf, exact = torch.from_numpy(x).requires_grad_(), oracle.tensor(x)
    result, expected = ours.adaptive_avg_pool2d(leaf, (6, 7), backend=backend), F.adaptive_avg_pool2d(exact, (6, 7))
    assert_equal(result.detach(), expected.detach().numpy())
    (found,) = torch.autograd.grad(result, leaf, torch.from_numpy(grad))
    assert_equal(found, oracle.gradients(expected, (exact,), grad)[0], "gradient")


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16], ids=str)
def test_halves_are_rounded_once(kind: torch.dtype, backend: str) -> None:
    """The numbers are so large that the sum of a window is beyond float16."""
    x = (torch.rand(1, 2, 13, 10, generator=torch.Generator().manual_seed(3)) * 100 + 4e4).to(kind).requires_grad_()
    single = x.detach().float().requires_grad_()
    grad = torch.randn(1, 2, 6, 7, generator=torch.Generator().manual_seed(4)).to(kind)
    y, right = (ours.adaptive_avg_pool2d(each, (6, 7), backend=backend) for each in (x, single))
    assert torch.equal(y, right.to(kind))
    (found,), (wanted,) = torch.autograd.grad(y, x, grad), torch.autograd.grad(right, single, grad.float())
    assert torch.equal(found, wanted.to(kind))


def test_kernels_of_their_own(ran) -> None:
    """The backend uses kernels for adaptive windows: pooling lists of pixels twice takes 3 times as long as torch."""
    x = torch.randn(1, 2, 9, 11, requires_grad=True)
    averages = ours.adaptive_avg_pool2d(x, 4, backend="numba")
    values, _ = ours.adaptive_max_pool2d(x, 4, return_indices=True, backend="numba")
    assert ran == [("numba", "adaptive_avg_pool2d"), ("numba", "adaptive_max_pool2d")]
    torch.autograd.grad(averages.sum() + values.sum(), x)
    assert {name for _, name in ran[2:]} == {
        "adaptive_avg_pool2d_backward",
        "adaptive_max_pool2d_gradient",
        "max_pool2d_backward",
    }


@pytest.mark.parametrize("threads", [1, 3])
def test_tasks_share_a_plane(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plane of 640,000 bytes is cut into rows of pixels and runs of windows, for several tasks."""
    monkeypatch.setattr("fastconv.backends.numba_cpu.backend.get_num_threads", lambda: threads)
    numba, g = registry.get("numba"), AdaptiveGeometry(1, 1, 400, 400, 7, 9)
    generator = np.random.default_rng(5)
    x = generator.standard_normal(g.input_shape, np.float32)
    grad = generator.standard_normal(g.output_shape, np.float32)
    exact = oracle.tensor(x)
    expected = F.adaptive_avg_pool2d(exact, (7, 9))
    assert_equal(numba.adaptive_avg_pool2d(x, g), expected.detach().numpy())
    assert_equal(numba.adaptive_avg_pool2d_backward(grad, g), oracle.gradients(expected, (exact,), grad)[0])
    for mine, theirs in zip(
        numba.adaptive_max_pool2d(x, g), F.adaptive_max_pool2d(exact, (7, 9), return_indices=True), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs.detach())


def test_pixels_and_windows_exchanged() -> None:
    """Pixels and windows are exchanged: the pixels of window p are those whose windows have p among them."""
    g = AdaptiveGeometry(1, 1, 11, 5, 4, 8)
    for axis, other in ((g.rows, g.exchanged.rows), (g.columns, g.exchanged.columns)):
        covers, covered = np.zeros((axis.windows, axis.size), bool), np.zeros((axis.size, axis.windows), bool)
        for each, table in ((axis, covers), (other, covered)):
            for window, (start, length) in enumerate(zip(each.starts, each.lengths, strict=True)):
                table[window, start : start + length] = True
        np.testing.assert_array_equal(covers, covered.T)
