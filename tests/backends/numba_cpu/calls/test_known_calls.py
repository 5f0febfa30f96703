"""Calls that compiled code knows again give what Python code gives, and those that differ in anything aren't known."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import known, registry
from fastconv.backends.compiler import builtin
from fastconv.backends.numba_cpu.calls import entry, objects, table
from fastconv.backends.numba_cpu.calls.table import Table

Ran = list[tuple[str, str]]

ENOUGH = 64 + entry.PATIENCE + 1
"""Number of calls after which the next one is known."""


def array(*shape: int, dtype: str = "float32") -> np.ndarray:
    """Returns whole numbers, whose sums of products are exact."""
    return np.random.default_rng(sum(shape)).integers(-4, 5, shape).astype(dtype)


def is_known(call: Callable[[], Any], ran: Ran) -> bool:
    """Returns True if a call is answered without any backend after it was made some times."""
    for _ in range(ENOUGH):
        call()
    ran.clear()
    call()
    return not ran


X, W, B = array(2, 4, 9, 8), array(6, 4, 3, 3), array(6)

KNOWN: dict[str, Callable[..., Any]] = {
    "conv2d": partial(fastconv.conv2d, X, W),
    "bias": partial(fastconv.conv2d, X, W, B),
    "stride": partial(fastconv.conv2d, X, W, B, stride=2, padding=1),
    "pairs": partial(fastconv.conv2d, X, W, None, (1, 2), (0, 1), (2, 1)),
    "sides": partial(fastconv.conv2d, X, W, None, 1, (1, 0, 2, 1)),
    "same": partial(fastconv.conv2d, X, W, None, 1, "same"),
    "groups": partial(fastconv.conv2d, X, array(4, 1, 3, 3), None, groups=4),
    "unbatched": partial(fastconv.conv2d, X[0], W, B),
    "float64": partial(fastconv.conv2d, array(1, 3, 7, 7, dtype="f8"), array(2, 3, 3, 3, dtype="f8")),
    "1x1": partial(fastconv.conv2d, X, array(5, 4, 1, 1), array(5)),
    "dense": partial(fastconv.conv2d, X, array(5, 4, 9, 8)),
    "conv1d": partial(fastconv.conv1d, X[:, :, 0].copy(), W[:, :, 0].copy(), B, padding=1),
    "input gradient": partial(fastconv.conv2d_input, (2, 4, 11, 10), W, array(2, 6, 9, 8)),
    "input gradient, padding": partial(fastconv.conv2d_input, (2, 4, 9, 8), W, array(2, 6, 9, 8), 1, (1, 1)),
    "input gradient, stride": partial(fastconv.conv2d_input, (2, 4, 19, 17), W, array(2, 6, 9, 8), 2),
    "input gradient, groups": partial(fastconv.conv2d_input, (2, 4, 11, 10), W[:4, :1].copy(), X, groups=4),
    "input gradient, unbatched": partial(fastconv.conv2d_input, (4, 11, 10), W, array(6, 9, 8)),
    "input gradient, dense": partial(fastconv.conv2d_input, (2, 4, 3, 3), W, array(2, 6, 1, 1)),
    "weight gradient": partial(fastconv.conv2d_weight, X, (6, 4, 3, 3), array(2, 6, 7, 6)),
    "weight gradient, padding": partial(fastconv.conv2d_weight, X, (6, 4, 3, 3), array(2, 6, 9, 8), 1, (1, 1)),
    "weight gradient, stride": partial(fastconv.conv2d_weight, X, (6, 4, 3, 3), array(2, 6, 4, 3), 2),
    "weight gradient, groups": partial(fastconv.conv2d_weight, X, (4, 1, 3, 3), array(2, 4, 7, 6), groups=4),
    "weight gradient, unbatched": partial(fastconv.conv2d_weight, X[0], (6, 4, 3, 3), array(6, 7, 6)),
    "weight gradient, float64": partial(
        fastconv.conv2d_weight, X.astype("f8"), (6, 4, 3, 3), array(2, 6, 7, 6, dtype="f8")
    ),
    "weight gradient, dense": partial(fastconv.conv2d_weight, X, (5, 4, 9, 8), array(2, 5, 1, 1)),
    "average gradient": partial(fastconv.avg_pool2d_backward, X, (2, 4, 18, 16), 2),
    "average gradient, gaps": partial(fastconv.avg_pool2d_backward, X, (2, 4, 26, 23), 2, 3),
    "average gradient, unbatched": partial(fastconv.avg_pool2d_backward, X[0], (4, 17, 15), 2, 2, 1),
    "average gradient, divisor": partial(fastconv.avg_pool2d_backward, X, (2, 4, 18, 16), 2, divisor_override=-3),
    "max": partial(fastconv.max_pool2d, X, 2),
    "max, unbatched": partial(fastconv.max_pool2d, X[0], (3, 2), 2, 1, 1, True),
    "max, indices": partial(fastconv.max_pool2d, X, 2, return_indices=True),
    "max, indices, overlapping": partial(fastconv.max_pool2d, X, 3, 2, 1, return_indices=True),
    "max, indices, unbatched": partial(fastconv.max_pool2d, X[0], (2, 5), return_indices=True),
    "max, indices, whole planes": partial(fastconv.max_pool2d, X, (9, 8), return_indices=True),
    "max, indices, float64": partial(fastconv.max_pool2d, X.astype("f8"), 2, 1, return_indices=True),
    "max1d, indices": partial(fastconv.max_pool1d, X[:, 0].copy(), 3, return_indices=True),
    "average": partial(fastconv.avg_pool2d, X, 3, 2, 1),
    "average, float64": partial(fastconv.avg_pool2d, array(1, 3, 7, 7, dtype="f8"), 2, None, 1, True, False, 3),
}


def arrays_of(result: Any) -> tuple[np.ndarray, ...]:
    """Returns the arrays of a result: one, or values and indices."""
    return result if type(result) is tuple else (result,)


@pytest.mark.parametrize("call", KNOWN.values(), ids=KNOWN)
def test_known_calls_give_the_same(call: Callable[..., Any], ran: Ran) -> None:
    usual = arrays_of(call(backend="naive"))
    assert is_known(call, ran)
    found = arrays_of(call()), arrays_of(call())
    assert ran == []
    for results in found:
        for result, expected in zip(results, usual, strict=True):
            assert type(result) is np.ndarray
            assert result.dtype == expected.dtype
            assert result.flags.c_contiguous
            assert result.flags.writeable
            np.testing.assert_allclose(result, expected, rtol=1e-6)
    every = [each for results in found for each in results]
    assert not any(np.shares_memory(one, other) for one, other in itertools.combinations(every, 2))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, -0.0])
def test_known_indices_of_special_numbers(number: float, ran: Ran) -> None:
    x = X.copy()
    call = partial(fastconv.max_pool2d, x, 3, 2, 1, return_indices=True)
    assert is_known(call, ran)
    x[np.random.default_rng(3).random(x.shape) < 0.3] = number
    for found, expected in zip(call(), call(backend="naive"), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_known_gradients_of_numbers_that_are_not_finite(number: float, padding: int, stride: int, ran: Ran) -> None:
    x, w = X.copy(), W.copy()
    grad = np.ones_like(fastconv.conv2d(x, w, None, stride, padding, backend="naive"))
    calls = (
        partial(fastconv.conv2d_input, x.shape, w, grad, stride, padding),
        partial(fastconv.conv2d_weight, x, w.shape, grad, stride, padding),
    )
    for call in calls:
        is_known(call, ran)
    for operand in (x, w, grad):
        kept = operand[0, 1, 0, 2]
        operand[0, 1, 0, 2] = number
        for call in calls:
            np.testing.assert_allclose(call(), call(backend="naive"), rtol=1e-5)
        operand[0, 1, 0, 2] = kept


UNKNOWN: dict[str, Callable[[], Any]] = {
    "float16": lambda: fastconv.conv2d(X.astype("f2"), W.astype("f2")),
    "not contiguous": lambda: fastconv.conv2d(X[..., ::2], W),
    "weight not contiguous": lambda: fastconv.conv2d(X, W[::-1]),
    "subclass": lambda: fastconv.conv2d(X.view(np.memmap), W),
    "foreign byte order": lambda: fastconv.conv2d(X.astype(">f4"), W.astype(">f4")),
    "list": lambda: fastconv.conv2d(X, W, None, [1, 1]),
    "NumPy's integer": lambda: fastconv.conv2d(X, W, None, np.int64(1)),
    "empty": lambda: fastconv.conv2d(X[:0], W),
    "dilation": lambda: fastconv.max_pool2d(X, 2, dilation=2),
    "indices, dilation": lambda: fastconv.max_pool2d(X, 2, dilation=2, return_indices=True),
    "indices of integers": lambda: fastconv.max_pool2d(X.astype("i8"), 2, return_indices=True),
    "indices of a long call": lambda: fastconv.max_pool2d(np.ones((1, 8, 48, 48), "f4"), 2, return_indices=True),
    "integers": lambda: fastconv.max_pool2d(X.astype("i4"), 2),
    "long": lambda: fastconv.conv2d(np.ones((1, 16, 40, 40), "f4"), np.ones((32, 16, 3, 3), "f4")),
    "gradient of a long call": lambda: fastconv.conv2d_input(
        (1, 16, 40, 40), np.ones((32, 16, 3, 3), "f4"), np.ones((1, 32, 38, 38), "f4")
    ),
    "input_size as a list": lambda: fastconv.conv2d_input([2, 4, 11, 10], W, array(2, 6, 9, 8)),
    "average gradient, overlapping": lambda: fastconv.avg_pool2d_backward(X, (2, 4, 11, 17), 3, (1, 2)),
    "empty gradient": lambda: fastconv.conv2d_weight(X[:0], (6, 4, 3, 3), array(0, 6, 7, 6)),
    "im2col": lambda: fastconv.conv2d(X, W, backend="im2col"),
}


@pytest.mark.parametrize("call", UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_left_to_python(call: Callable[[], Any], ran: Ran) -> None:
    assert not is_known(call, ran)


def test_another_call_is_not_taken_for_a_known_one(ran: Ran) -> None:
    assert is_known(lambda: fastconv.conv2d(X, W, B, 1, 1), ran)
    others: list[Callable[[], Any]] = [
        lambda: fastconv.conv2d(X, W, B, 1, 2),
        lambda: fastconv.conv2d(X, W, B, 1, (1, 1)),
        lambda: fastconv.conv2d(X, W, None, 1, 1),
        lambda: fastconv.conv2d(X[:1], W, B, 1, 1),
        lambda: fastconv.conv2d(X[0], W, B, 1, 1),
        lambda: fastconv.conv2d(X, W[:3], B[:3], 1, 1),
        lambda: fastconv.conv2d(X.astype("f8"), W.astype("f8"), B.astype("f8"), 1, 1),
        lambda: fastconv.conv2d(X, W, B, 1, 1, backend="numba"),
    ]
    for number, other in enumerate(others):
        ran.clear()
        other()
        assert ran != [], number
    for wrong in (X[:, :3], X.astype("f8"), X.astype("i4"), X[0, 0], None, "x"):
        with pytest.raises((RuntimeError, TypeError)):
            fastconv.conv2d(wrong, W, B, 1, 1)  # type: ignore[type-var]
    with pytest.raises(RuntimeError):
        fastconv.conv2d(X, W, B[:5], 1, 1)


@pytest.mark.usefixtures("own_registry")
def test_a_choice_of_backend_counts(ran: Ran) -> None:
    call = partial(fastconv.conv2d, X, W)
    assert is_known(call, ran)
    with fastconv.use_backend("naive"):
        call()
    assert ran == [("naive", "conv2d")]
    call()
    assert ran == [("naive", "conv2d")]
    fastconv.set_backend("im2col")
    call()
    assert ran == [("naive", "conv2d"), ("im2col", "conv2d")]


@pytest.mark.usefixtures("own_registry")
def test_a_backend_in_anothers_place_is_asked(ran: Ran) -> None:
    from fastconv.backends.im2col import Im2col

    call = partial(fastconv.conv2d, X, W, backend="numba")
    assert is_known(call, ran)

    class Other(Im2col):
        def conv2d(self, x: Any, w: Any, b: Any, geometry: Any) -> Any:
            return super().conv2d(x, w, b, geometry) + 1

    before = call()
    fastconv.register_backend(Other("numba"), replace=True)
    np.testing.assert_array_equal(call(), before + 1)


def test_numbers_that_spread_are_computed_by_definition(ran: Ran) -> None:
    """Winograd's transforms spread infinities; a known call then leaves the result to Python code."""
    x, w = array(1, 8, 8, 8), array(8, 8, 3, 3)
    call = partial(fastconv.conv2d, x, w, None, 1, 1)
    assert "winograd" in str(fastconv.explain(x.shape, w.shape, padding=1))
    assert is_known(call, ran)
    w[3, 2, 1, 1], x[0, 1, 2, 3] = np.inf, np.nan
    expected = call(backend="naive")
    ran.clear()
    np.testing.assert_array_equal(call(), expected)
    assert ran == [("numba", "conv2d")]
    w[3, 2, 1, 1], x[0, 1, 2, 3] = 1, 1
    ran.clear()
    np.testing.assert_allclose(call(), call(backend="naive"), atol=1e-4)
    assert ran == [("naive", "conv2d")]


def test_calls_leave_no_references_behind(ran: Ran) -> None:
    choice = registry.get("numba").name
    objects_seen = None, NotImplemented, np.dtype("f4"), X, W, choice, known.conv2d
    with fastconv.use_backend("numba"):
        assert is_known(lambda: fastconv.conv2d(X, W), ran)
        tracemalloc.start()
        fastconv.conv2d(X, W)
        before, start = [sys.getrefcount(each) for each in objects_seen], tracemalloc.get_traced_memory()[0]
        for _ in range(100_000):
            fastconv.conv2d(X, W)
        for _ in range(2000):
            known.conv2d(X, W, None, 9)
        after, end = [sys.getrefcount(each) for each in objects_seen], tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert max(abs(one - other) for one, other in zip(before, after, strict=True)) < 50
    assert end - start < 10_000


def test_indices_leave_no_references_behind(ran: Ran) -> None:
    call = partial(fastconv.max_pool2d, X, 2, return_indices=True)
    assert is_known(call, ran)
    objects_seen = None, NotImplemented, np.dtype("f4"), np.dtype("i8"), X, True
    tracemalloc.start()
    call()
    before, start = [sys.getrefcount(each) for each in objects_seen], tracemalloc.get_traced_memory()[0]
    for _ in range(20_000):
        call()
    after, end = [sys.getrefcount(each) for each in objects_seen], tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert max(abs(one - other) for one, other in zip(before, after, strict=True)) < 50
    assert end - start < 10_000
    assert [sys.getrefcount(each) for each in call()] == [3, 3]


def test_many_threads_at_once(ran: Ran) -> None:
    calls = [KNOWN[name] for name in ("conv2d", "stride", "dense", "max", "max, indices", "average")]
    expected = [call() for call in calls]
    assert all(is_known(call, ran) for call in calls)
    wrong: list[int] = []

    def hammer(me: int) -> None:
        for turn in range(3000):
            which = (me + turn) % len(calls)
            if not np.array_equal(calls[which](), expected[which]):
                wrong.append(which)
            if turn % 500 == me:
                known.forget()

    threads = [threading.Thread(target=hammer, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_table_has_an_end(ran: Ran) -> None:
    """More calls than it has places for replace one another, and each is answered right."""
    full = Table()
    call = full.call("conv2d", 7)
    w = np.ones((1, 1, 1, 1), np.float32)
    shapes = [(1, 1, 1 + number // 50, 1 + number % 50) for number in range(1500)]
    for shape in shapes:
        g = fastconv.ConvGeometry(*shape, 1, 1, 1)
        short = registry.get("numba").short("conv2d", g, np.dtype("f4"), 2)
        assert short is not None
        full.learn("conv2d", (np.ones(shape, "f4"), w, None, 1, 0, 1, 1, None), short, shape, np.dtype("f4"))
    assert len(full._records) <= entry.SLOTS + entry.PROBES
    found = [call(np.full(shape, number, "f4"), w, None, 1, 0, 1, 1, None) for number, shape in enumerate(shapes)]
    answered = {number for number, each in enumerate(found) if isinstance(each, np.ndarray)}
    assert 900 < len(answered) < 1500
    assert all((found[number] == number).all() and found[number].shape == shapes[number] for number in answered)


PROBES = {
    "no lock": (objects, "has_lock", lambda: False),
    "an array's field elsewhere": (objects, "RANK", 5),
    "a tuple's item elsewhere": (objects, "FIRST_ITEM", 4),
    "another NumPy": (objects, "_ABI", 3),
    "functions made differently": (builtin, "_FASTCALL", 0x82),
}


@pytest.mark.parametrize(("module", "name", "value"), PROBES.values(), ids=PROBES)
def test_the_slow_way_where_a_probe_fails(
    module: Any, name: str, value: Any, monkeypatch: pytest.MonkeyPatch, ran: Ran
) -> None:
    assert table.start() is not None
    monkeypatch.setattr(module, name, value)
    assert table.start() is None
    monkeypatch.setattr(known, "conv2d", known.unknown)
    monkeypatch.setattr(known, "_starts", [table.start])
    monkeypatch.setattr(known, "_tables", [])
    call = partial(fastconv.conv2d, X, W, B)
    assert not is_known(call, ran)
    np.testing.assert_array_equal(call(), call(backend="naive"))


FORKED = """
import os, numpy as np, fastconv
x, w = np.ones((1, 2, 8, 8), np.float32), np.ones((3, 2, 3, 3), np.float32)
for _ in range(200):
    y = fastconv.conv2d(x, w)
child = os.fork()
for _ in range(1000):
    assert (fastconv.conv2d(x, w) == y).all()
if child == 0:
    fastconv.set_backend("naive")
    assert (fastconv.conv2d(x, w) == y).all()
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forks_and_exit() -> None:
    command = [sys.executable, "-W", "error", "-c", FORKED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr
