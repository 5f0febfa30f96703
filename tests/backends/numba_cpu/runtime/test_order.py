"""These tests see in which order the threads of a job take its tasks: from both ends, and each task once."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.runtime.host_team import member_address
from fastconv.backends.numba_cpu.runtime.pool_state import CLOCK, FUNCTION, HELPERS, LAST, NUMBER, TAKEN, TASKS
from tests.forced import image, last_tasks_first

COUNT = 7


def _address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("slot", "taken", "expected"),
    [
        (0, (0, 0), [0, 1, 2, 3, 4, 5, 6]),
        (1, (0, 0), [6, 5, 4, 3, 2, 1, 0]),
        (2, (2, 3), [2, 3]),
        (3, (2, 3), [3, 2]),
        (0, (7, 0), []),
        (1, (3, 6), []),
    ],
)
def test_even_threads_begin_with_the_first_task_and_odd_ones_with_the_last(
    slot: int, taken: tuple[int, int], expected: list[int]
) -> None:
    """Other threads have ``taken`` some tasks before: a number of the first ones, and a number of the last ones."""
    done: list[tuple[int, int]] = []

    @ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    def note(frame: int, task: int, thread: int) -> None:
        done.append((task, thread))

    number, clock = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: slot), ctypes.CFUNCTYPE(ctypes.c_double)(lambda: 0.0)
    state = np.zeros(64, np.int64)
    state[[FUNCTION, NUMBER, CLOCK]] = [_address(function) for function in (note, number, clock)]
    state[[TASKS, HELPERS, TAKEN]] = COUNT, 3, taken[0] + LAST * taken[1]
    ctypes.CFUNCTYPE(None, ctypes.c_int64)(member_address())(state.ctypes.data)
    assert done == [(task, slot) for task in expected]


def test_tests_can_have_the_last_tasks_first() -> None:
    numba, g = NumbaCpu("forced", algorithm="gemm"), image(20, 9, 10, 30, 3, 3)
    x, w = np.ones(g.input_shape, np.float32), np.ones(g.weight_shape, np.float32)
    with last_tasks_first() as jobs:
        y = numba.conv2d(x, w, None, g)
    assert len(jobs) == 2  # the weight is packed, and the convolution computed
    np.testing.assert_array_equal(y, numba.conv2d(x, w, None, g))
