"""The backend `numba` made to use one instruction set and one algorithm, against torch to the bit.

Elements are small whole numbers, so sums of their products, and the halves that Winograd's transforms make of them, are
exact in float32 too: results must equal torch's in float64, and no wrong element can hide in a tolerance. Transforms
with thirds round; there a result must be nearer than a quarter, since a wrong one is wrong by a whole number.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np

import fastconv
from fastconv import threads
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.conv import plan
from fastconv.backends.numba_cpu.runtime import thread_pool
from fastconv.backends.numba_cpu.simd import Simd, instruction_set
from fastconv.geometry import ConvGeometry
from tests import oracle
from tests.tolerance import assert_equal

FORCED = [Simd(row, "float32") for row in instruction_set.ALL.values()]
FORCED += [Simd(row, "float64") for row in (instruction_set.AVX512, instruction_set.NEON)]
"""All instruction sets, and with float64 all numbers of lanes: to compile for one takes some ten seconds, once."""


def how(g: ConvGeometry) -> dict[str, Any]:
    """The parameters by which torch is asked for the convolution of a geometry."""
    return {"stride": g.stride, "padding": g.padding, "dilation": g.dilation, "groups": g.groups}


def image(C: int, H: int, W: int, K: int, R: int, S: int, N: int = 1, **rest: Any) -> ConvGeometry:
    """A geometry with as much padding as keeps the size, unless told otherwise."""
    padding = rest.pop("padding", ((R - 1) // 2, R // 2, (S - 1) // 2, S // 2))
    return ConvGeometry(N, C, H, W, K, R, S, rest.pop("stride", (1, 1)), padding, **rest)


def _operands(g: ConvGeometry, dtype: str, number: Callable[..., np.ndarray]) -> dict[str, np.ndarray]:
    shapes = {"x": g.input_shape, "w": g.weight_shape, "grad": g.output_shape, "b": (g.K,)}
    return {name: number(shape).astype(dtype) for name, shape in shapes.items()}


def assert_all_exact(numba: NumbaCpu, geometries: Iterable[ConvGeometry], simd: Simd, *, rounds: bool = False) -> None:
    """Forward and, as far as the algorithm does them, both gradients give torch's numbers, by no other algorithm.

    With ``rounds`` they may differ by less than a quarter. A wrong number that is NaN would send the plan another way,
    and that gives the right ones.
    """
    detour = AssertionError("finite operands, and the plan took another way")
    with mock.patch.object(plan.Plan, "exact", side_effect=detour):
        _assert_all_exact(numba, geometries, simd, 0.25 if rounds else 0)


def _assert_all_exact(numba: NumbaCpu, geometries: Iterable[ConvGeometry], simd: Simd, most: float) -> None:
    def same(actual: np.ndarray, expected: np.ndarray, what: str) -> None:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=most, err_msg=what)

    for g in geometries:
        rng = np.random.default_rng(g.K + 1000 * g.W)
        x, w, grad, b = _operands(g, simd.dtype, lambda shape, rng=rng: rng.integers(-4, 5, shape)).values()
        bias = b if g.K % 2 else None
        same(numba.conv2d(x, w, bias, g), oracle.conv2d(x, w, bias, how(g)), f"forward {g}")
        for_x, for_w, _ = oracle.conv2d_gradients(x, w, grad, how(g))
        if not numba.refuses("conv2d_input", g, simd.dtype):
            same(numba.conv2d_input(grad, w, g), for_x, f"input {g}")
        if not numba.refuses("conv2d_weight", g, simd.dtype):
            same(numba.conv2d_weight(x, grad, g), for_w, f"weight {g}")


_reversed: list[int] = []
"""Grows by the address of the state of each job whose tasks ran from the last to the first."""


@ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint, ctypes.c_uint)
def _run_member(member: int, state: int, count: int, flags: int) -> None:
    _reversed.append(state)
    ctypes.CFUNCTYPE(None, ctypes.c_int64)(member)(state)


_three, _one = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 3), ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1)
_clock = ctypes.CFUNCTYPE(ctypes.c_double)(lambda: 1.0)
_SECOND_ALONE = threads.HostTeam(
    *(ctypes.cast(each, ctypes.c_void_p).value for each in (_run_member, _three, _clock, _one))
)
"""A team of three threads of which only the second one comes: it takes tasks from the last one on."""


@contextmanager
def last_tasks_first() -> Iterator[list[int]]:
    """Each job for three threads does its tasks in reverse; small ones, too, unless their program was made before.

    The list grows by a number for each of these jobs.
    """
    _reversed.clear()
    before = fastconv.get_num_threads()
    fastconv.set_num_threads(3)
    try:
        with mock.patch.object(threads, "host_team", _SECOND_ALONE), mock.patch.object(thread_pool, "_ALONE", -1):
            yield _reversed
    finally:
        fastconv.set_num_threads(before)
        thread_pool.pool.helpers(2, 2)  # which takes the former team again


def assert_same_bits(numba: NumbaCpu, g: ConvGeometry, dtype: str) -> None:
    """All that the algorithm does of a geometry comes out the same for any number of threads, and order of tasks."""
    x, w, grad, b = _operands(g, dtype, np.random.default_rng(20).standard_normal).values()

    def results(count: int) -> list[bytes]:
        fastconv.set_num_threads(count)
        found = [numba.conv2d(x, w, b, g)]
        if not numba.refuses("conv2d_input", g, dtype):
            found.append(numba.conv2d_input(grad, w, g))
        if not numba.refuses("conv2d_weight", g, dtype):
            found.append(numba.conv2d_weight(x, grad, g))
        return [array.tobytes() for array in found]

    before = fastconv.get_num_threads()
    try:
        alone = results(1)
        with last_tasks_first():
            assert results(3) == alone
        for count in (2, 3, 7):
            assert results(count) == alone
    finally:
        fastconv.set_num_threads(before)


def assert_special_values_travel(numba: NumbaCpu, g: ConvGeometry, simd: Simd, value: float) -> None:
    """A ``value`` at a corner, an edge or in the middle of any operand: NaN and infinities where torch has them."""
    operands = _operands(g, simd.dtype, np.random.default_rng(1).standard_normal)
    operands = {name: array / 8 for name, array in operands.items()}
    for name in ("x", "w", "grad"):
        height, width = operands[name].shape[2:]
        second = min(1, height - 1), min(1, width - 1)
        corners = {(0, 0), (height - 1, width - 1), (second[0], 0), (0, second[1])}
        for row, column in corners | {(height // 2, width // 2)}:
            changed = operands[name].copy()
            changed[-1, -1, row, column] = value
            x, w, grad = (changed if name == each else operands[each] for each in ("x", "w", "grad"))
            for_x, for_w, _ = oracle.conv2d_gradients(x, w, grad, how(g))
            if name != "grad":
                assert_equal(numba.conv2d(x, w, None, g), oracle.conv2d(x, w, None, how(g)), "forward")
            if name != "x":
                assert_equal(numba.conv2d_input(grad, w, g), for_x, "input")
            if name != "w" and not numba.refuses("conv2d_weight", g, simd.dtype):
                assert_equal(numba.conv2d_weight(x, grad, g), for_w, "weight")
