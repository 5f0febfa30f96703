"""These tests see in which order the threads of a job take its tasks: from both ends, and each task once."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends.compiler.entry import Entry
from fastconv.backends.numba_cpu.runtime.pool_state import FRAME, FUNCTION, LAST, TAKEN, TASKS, do_tasks
from fastconv.backends.numba_cpu.simd import Simd, instruction_set, load_integer, store_integer
from fastconv.backends.numba_cpu.simd.arguments import Arguments
from fastconv.backends.numba_cpu.simd.task import task

COUNT = 7


class NoteArguments(Arguments):
    """Lists the arguments of a task that notes its number."""

    notes: int
    count: int


@task(NoteArguments)
def _note(simd, args, task, thread):
    store_integer(args.notes, args.count, task)
    args.count += 1


@Entry
def _do_tasks(arguments):
    do_tasks(load_integer(arguments, 0), load_integer(arguments, 1))
    return 0


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
    """Of the job's tasks some are ``taken`` already, from the first on and from the last on."""
    notes, state = np.full(COUNT, -1), np.zeros(64, np.int64)
    args = NoteArguments.new(notes=notes.ctypes.data)
    state[FUNCTION] = _note(Simd(instruction_set.ALL["portable"], "float32"))
    state[[FRAME, TASKS, TAKEN]] = args.ctypes.data, COUNT, taken[0] + LAST * taken[1]
    _do_tasks.call(state.ctypes.data, slot)
    assert notes[: int(args["count"][0])].tolist() == expected
