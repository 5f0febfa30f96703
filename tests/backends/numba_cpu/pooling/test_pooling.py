"""These tests take pooling's kernels through every instruction set, every remainder of a row, and several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fastconv
from fastconv.backends.numba_cpu.pooling.average import avg_pool2d, avg_pool2d_backward
from fastconv.backends.numba_cpu.pooling.max import max_pool2d, max_pool2d_backward, max_pool2d_values
from fastconv.backends.numba_cpu.pooling.plan import forward, max_backward
from fastconv.backends.numba_cpu.pooling.windows.state import VALUES
from fastconv.backends.numba_cpu.runtime import addresses
from fastconv.backends.numba_cpu.simd import Simd, instruction_set
from fastconv.geometry import PoolGeometry
from fastconv.torch import functional
from tests import oracle, probes
from tests.cases import AVERAGES, MAX_POOLINGS, PoolCase, named
from tests.tolerance import assert_equal


@pytest.fixture(params=instruction_set.ALL)
def simd(request: pytest.FixtureRequest, dtype: str) -> Simd:
    return Simd(instruction_set.ALL[request.param], dtype)


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def _geometry(shape: tuple[int, int, int, int], kernel: Any, how: dict[str, Any]) -> PoolGeometry:
    """Return the geometry that torch's arguments describe."""
    pairs = {name: _pair(how[name]) for name in ("stride", "padding", "dilation") if name in how}
    return PoolGeometry(*shape, *_pair(kernel), **{"stride": _pair(kernel), **how, **pairs})


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, unless a test asks for more."""
    threads = fastconv.get_num_threads()
    fastconv.set_num_threads(1)
    yield
    fastconv.set_num_threads(threads)


Draw = Callable[..., np.ndarray]


def _check_max(simd: Simd, x: np.ndarray, kernel: Any, how: dict[str, Any], draw: Draw, most: int = 1) -> None:
    """Compare values, indices and gradients with torch, on one thread and on up to ``most``."""
    g = _geometry(x.shape, kernel, how)
    leaf = oracle.tensor(x)
    expected, places = F.max_pool2d(leaf, kernel, **how, return_indices=True)
    grad = draw(*g.output_shape)
    spread = oracle.gradients(expected, (leaf,), grad)[0]
    found = []
    for threads in range(1, most + 1):
        fastconv.set_num_threads(threads)
        values, indices = max_pool2d(simd, x, g)
        alone = max_pool2d_values(simd, x, g)
        assert (values.dtype, indices.dtype) == (simd.dtype, np.int64)
        np.testing.assert_array_equal(values, expected.detach().numpy())
        np.testing.assert_array_equal(indices, places.numpy())
        assert alone.tobytes() == values.tobytes()
        back = max_pool2d_backward(simd, grad, indices, (g.H, g.W))
        assert_equal(back, spread, "gradient")
        found.append([result.tobytes() for result in (values, indices, back)])
    assert all(results == found[0] for results in found)


def _check_average(simd: Simd, x: np.ndarray, kernel: Any, how: dict[str, Any], draw: Draw, most: int = 1) -> None:
    """Compare averages and gradients with torch, on one thread and on up to ``most``."""
    g = _geometry(x.shape, kernel, how)
    leaf = oracle.tensor(x)
    expected = F.avg_pool2d(leaf, kernel, **how)
    grad = draw(*g.output_shape)
    spread = oracle.gradients(expected, (leaf,), grad)[0]
    found = []
    for threads in range(1, most + 1):
        fastconv.set_num_threads(threads)
        y, back = avg_pool2d(simd, x, g), avg_pool2d_backward(simd, grad, g)
        assert y.dtype == back.dtype == simd.dtype
        assert_equal(y, expected.detach().numpy())
        assert_equal(back, spread, "gradient")
        found.append([y.tobytes(), back.tobytes()])
    assert all(results == found[0] for results in found)


@pytest.mark.parametrize("case", MAX_POOLINGS, ids=named)
def test_max(case: PoolCase, simd: Simd, draw) -> None:
    _check_max(simd, draw(*case.x), case.kernel, case.how, draw)


@pytest.mark.parametrize(("case", "extra"), AVERAGES, ids=[named(pair) for pair in AVERAGES])
def test_average(case: PoolCase, extra: dict[str, Any], simd: Simd, draw) -> None:
    _check_average(simd, draw(*case.x), case.kernel, case.how | extra, draw)


ROWS = [(2, 2, 0), (3, 1, 1), (3, 2, 1), (3, 2, 0), (3, 3, 0), (3, 3, 1), (5, 1, 2), (5, 2, 2), (4, 3, 1), (3, 4, 0)]
"""Kernel, stride and padding."""


@pytest.mark.parametrize(("kernel", "stride", "padding"), ROWS)
def test_every_remainder_of_a_row(kernel: int, stride: int, padding: int, simd: Simd, draw) -> None:
    """Rows have one window to more than two vectors of windows, and images end up to a stride beyond the last one."""
    how = {"stride": stride, "padding": padding}
    for windows in range(1, 2 * simd.lanes + 3):
        for rest in range(stride):
            width = (windows - 1) * stride + kernel - 2 * padding + rest
            x = draw(1, 2, max(kernel, 4), width)
            _check_max(simd, x, kernel, how, draw)
            _check_average(simd, x, kernel, how, draw)


@pytest.mark.parametrize(
    ("shape", "kernel", "stride"),
    [
        ((3, 7, 7, 7), 7, 7),
        ((1, 35, 4, 8), (4, 8), 1),
        ((2, 3, 9, 40), (3, 20), (3, 20)),
        ((2, 3, 9, 40), (3, 17), (2, 11)),
        ((1, 2, 14, 14), 5, 3),
    ],
    ids=str,
)
def test_wide_windows(shape: tuple[int, int, int, int], kernel: Any, stride: Any, simd: Simd, draw) -> None:
    """Windows cover whole planes, whose number is around a vector's lanes, or are longer than a vector."""
    for planes in {shape[1], 1, simd.lanes, simd.lanes + 1}:
        x = draw(shape[0], planes, *shape[2:])
        _check_max(simd, x, kernel, {"stride": stride}, draw)
        _check_average(simd, x, kernel, {"stride": stride}, draw)


KERNELS = [(2, 2, 0), (3, 1, 1), (3, 2, 1), (2, 1, 1), (4, 3, 2), ((5, 6), (5, 6), 0), ((3, 6), (2, 6), 0)]
"""Kernel, stride and padding of a pooling for each path through the kernels; (5, 6) is the whole plane."""


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_everywhere(value: float, kernel: tuple[Any, Any, int], simd: Simd, draw) -> None:
    """One special value, then two, stand in each place of a plane: indices are torch's, and averages don't spread."""
    size, stride, padding = kernel
    how = {"stride": stride, "padding": padding}
    x = np.repeat(draw(1, 1, 5, 6), 60, axis=1)
    for place in range(30):
        x[0, place].flat[place] = value
        x[0, 30 + place].flat[[place, (place * 7 + 3) % 30]] = value
    g = _geometry(x.shape, size, how)
    values, indices = max_pool2d(simd, x, g)
    expected, places = F.max_pool2d(torch.from_numpy(x), size, **how, return_indices=True)
    np.testing.assert_array_equal(values, expected.numpy())
    np.testing.assert_array_equal(indices, places.numpy())
    np.testing.assert_array_equal(max_pool2d_values(simd, x, g), values)
    averages = F.avg_pool2d(oracle.tensor(x), size, **how).detach().numpy()
    assert_equal(avg_pool2d(simd, x, g), averages)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("values", [[0.0, -0.0], [-np.inf], [np.nan, -np.inf], [-1, 0, 1]], ids=str)
def test_ties(values: list[float], kernel: tuple[Any, Any, int], simd: Simd) -> None:
    """The first of equal elements wins, with the sign of its zero; of several NaN the last wins."""
    size, stride, padding = kernel
    how = {"stride": stride, "padding": padding}
    x = np.random.default_rng(5).choice(np.array(values, simd.dtype), (2, 40, 5, 6))
    expected, places = F.max_pool2d(torch.from_numpy(x), size, **how, return_indices=True)
    found, indices = max_pool2d(simd, x, _geometry(x.shape, size, how))
    np.testing.assert_array_equal(indices, places.numpy())
    np.testing.assert_array_equal(found, expected.numpy())
    taken = np.take_along_axis(x.reshape(2, 40, 30), indices.reshape(2, 40, -1), 2).reshape(found.shape)
    assert found.tobytes() == taken.tobytes()
    assert max_pool2d_values(simd, x, _geometry(x.shape, size, how)).tobytes() == taken.tobytes()


LARGE = [
    ((1, 1, 700, 701), 3, {"stride": 2, "padding": 1}),
    ((1, 1, 700, 701), 2, {}),
    ((1, 2, 300, 601), 3, {"stride": 1, "padding": 1}),
    ((3, 67, 40, 41), 3, {"stride": 2}),
    ((4, 300, 14, 14), 14, {}),
    ((2, 50, 64, 60), (8, 20), {}),
    ((2, 40, 60, 60), 5, {"stride": 1, "padding": 2}),
]


@pytest.mark.parametrize(("shape", "kernel", "how"), LARGE, ids=str)
def test_many_tasks(shape: tuple[int, int, int, int], kernel: Any, how: dict[str, Any], draw) -> None:
    """Threads share planes, and rows of large planes."""
    x = draw(*shape)
    simd = Simd(instruction_set.chosen(), x.dtype.name)
    assert forward(simd, _geometry(shape, kernel, how), VALUES).tasks > 2
    _check_max(simd, x, kernel, how, draw, 3)
    _check_average(simd, x, kernel, how, draw, 3)


@pytest.mark.parametrize("wrong", [None, 0, 40, -1], ids=str)
def test_gradient_of_pairs(wrong: int | None, simd: Simd, draw) -> None:
    """Indices are those of 2 x 2 windows side by side, but for one, early or late, that is wrong or missing."""
    for P, Q in [(1, 1), (2, 3), (3, simd.lanes), (20, simd.lanes + 1), (17, 2 * simd.lanes + 3)]:
        grad = draw(2, 2, P, Q)
        grad[0, 0, 0, 0] = -0.0
        p, q, tap = np.arange(P)[:, None], np.arange(Q), np.random.default_rng(3).integers(0, 4, grad.shape)
        indices = (2 * p + tap // 2) * 2 * Q + 2 * q + tap % 2
        if wrong is not None:
            plane = indices[1, 0].reshape(-1)
            plane[min(max(wrong, 0), P * Q - 1)] = -1 if wrong == -1 else plane[-1]
        expected = np.zeros((2, 2, 4 * P * Q), simd.dtype)
        for n, c, i, j in np.ndindex(grad.shape):
            if indices[n, c, i, j] >= 0:
                expected[n, c, indices[n, c, i, j]] += grad[n, c, i, j]
        found = max_pool2d_backward(simd, grad, indices, (2 * P, 2 * Q))
        assert found.tobytes() == expected.tobytes()


def test_gradient_that_no_cache_holds(draw) -> None:
    x = draw(1, 2, 1400, 1210)
    simd = Simd(instruction_set.chosen(), x.dtype.name)
    assert max_backward(simd, 2, (1400, 1210), (700, 605)).args["ahead"] > 0
    _check_max(simd, x, 2, {}, draw, 2)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 3, 1), (2, 1, 0), (3, 2, 1), (3, 1, 1)])
def test_average_gradients_round_as_torchs_do(kernel: int, stride: int, padding: int, simd: Simd, draw) -> None:
    """Gradients equal torch's to the bit, and large numbers are divided before they are added.

    Averages of windows side by side are equal to the bit too.
    """
    x = draw(2, 3, 17, 40)
    g = _geometry(x.shape, kernel, {"stride": stride, "padding": padding})
    leaf = torch.from_numpy(x).requires_grad_()
    y = F.avg_pool2d(leaf, kernel, stride, padding)
    if kernel == 2 and stride == 2:
        assert avg_pool2d(simd, x, g).tobytes() == y.detach().numpy().tobytes()
    for grad in (draw(*g.output_shape), np.full(g.output_shape, 0.9 * np.finfo(simd.dtype).max, simd.dtype)):
        (expected,) = torch.autograd.grad(y, leaf, torch.from_numpy(grad), retain_graph=True)
        np.testing.assert_array_equal(avg_pool2d_backward(simd, grad, g), expected.numpy())


def test_addresses_the_slow_way(simd: Simd, draw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses come from `array.ctypes.data`, as where an array's object has another layout."""
    monkeypatch.setattr(addresses, "word", addresses.DIRECT)
    _check_max(simd, draw(2, 3, 9, 9), 3, {"stride": 2, "padding": 1}, draw)
    _check_average(simd, draw(2, 3, 9, 9), 3, {"stride": 2, "padding": 1}, draw)


def test_gradient_at_any_index(simd: Simd, draw) -> None:
    """The indices are such as no pooling gives: far away, all the same, or none."""
    grad = draw(2, 3, 5, 7)
    indices = np.random.default_rng(3).integers(-1, 40, grad.shape)
    indices[0, 1], indices[1, 2] = 39, -1
    expected = np.zeros((2, 3, 41))
    for n, c, p, q in np.ndindex(grad.shape):
        expected[n, c, indices[n, c, p, q]] += grad[n, c, p, q]
    expected[..., 40] = 0
    expected = expected[..., :40].reshape(2, 3, 5, 8)
    assert_equal(max_pool2d_backward(simd, grad, indices, (5, 8)), expected)


def test_windows_of_padding_alone(simd: Simd) -> None:
    x = np.arange(9, dtype=simd.dtype).reshape(1, 1, 3, 3)
    for turn in (False, True):
        axes = ((1, 2), (0, 1), (1, 4)) if turn else ((2, 1), (1, 0), (4, 1))
        g = PoolGeometry(1, 1, 3, 3, axes[0][0], axes[0][1], (1, 1), axes[1], axes[2])
        values, indices = max_pool2d(simd, x, g)
        np.testing.assert_array_equal(values, np.full(g.output_shape, -np.inf))
        np.testing.assert_array_equal(indices, np.full(g.output_shape, -1))
        np.testing.assert_array_equal(max_pool2d_values(simd, x, g), values)


X = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)


def test_indices_are_made_only_where_needed(ran) -> None:
    """Only the values are computed where neither the caller nor a gradient needs the indices."""
    leaf = torch.from_numpy(X.copy()).requires_grad_()
    # Where torch doesn't tell that no transform is active, a gradient may be wanted.
    of_tensors = "max_pool2d" if probes.FAIL else "max_pool2d_values"
    for ask, primitive in (
        (lambda: fastconv.max_pool2d(X, 2, backend="numba"), "max_pool2d_values"),
        (lambda: fastconv.max_pool2d(X[0], 2, backend="numba"), "max_pool2d_values"),
        (lambda: fastconv.max_pool2d(X, 2, return_indices=True, backend="numba"), "max_pool2d"),
        (lambda: functional.max_pool2d(torch.from_numpy(X), 2, backend="numba"), of_tensors),
        (lambda: functional.max_pool2d(leaf.detach(), 2, return_indices=True, backend="numba"), "max_pool2d"),
        (lambda: functional.max_pool2d(leaf, 2, backend="numba"), "max_pool2d"),
    ):
        ran.clear()
        ask()
        assert ran == [("numba", primitive)]
    ran.clear()
    with torch.no_grad():
        functional.max_pool2d(leaf, 2, backend="numba")
    assert ran == [("numba", of_tensors)]


def test_values_alone_by_default(ran) -> None:
    """A backend without a function for values alone returns those of `max_pool2d`."""
    values = fastconv.max_pool2d(X, 2, backend="naive")
    assert ran == [("naive", "max_pool2d_values"), ("naive", "max_pool2d")]
    np.testing.assert_array_equal(values, fastconv.max_pool2d(X, 2, return_indices=True, backend="naive")[0])
