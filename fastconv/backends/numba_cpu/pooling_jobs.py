"""Pooling's jobs: a compiled task, its frame, and the parts of the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.backends.jit import once
from fastconv.backends.numba_cpu import pool as threads
from fastconv.backends.numba_cpu import pooling_fields as F
from fastconv.backends.numba_cpu.memory import execute_pooling
from fastconv.backends.numba_cpu.program import Place, Recorder, Step
from fastconv.geometry import PoolGeometry

TASK_BYTES = 192 << 10
"""Read and written by a task, 5 to 20 us: enough to be worth waking a helper for."""

TASKS = 32
"""The most there are of them: it must not depend on the number of threads."""


_JOB_BYTES = 1024
"""Size of a job's objects besides its tables, in bytes."""


@once
def _address(make: Callable[[Any], int], vectors: Any) -> int:
    return make(vectors)


@dataclass(frozen=True)
class Job:
    """A frame without the arrays' addresses, and what it takes to run it."""

    template: int
    """The frame's address."""
    tasks: int
    kept: tuple[np.ndarray, ...]
    """The frame, and the tables that it refers to."""

    @classmethod
    def of(cls, make: Callable[[Any], int], vectors: Any, fields: dict[int, int], *tables: np.ndarray) -> Job:
        """From what compiles the task, what vectors it is made for, and the frame's fields but for that."""
        frame = np.zeros(F.COUNT, np.int64)
        for field, value in (fields | {F.TASK: _address(make, vectors)}).items():
            frame[field] = value
        return cls(frame.ctypes.data, fields[F.TASKS], (frame, *tables))

    @property
    def nbytes(self) -> int:
        """Bytes of the job and its tables, about."""
        return _JOB_BYTES + sum(table.nbytes for table in self.kept)

    def run(self, source: np.ndarray, target: np.ndarray, indices: np.ndarray | None, most: int) -> None:
        """Do all tasks on at most so many threads, with C-contiguous arrays for INPUT, OUTPUT and INDICES."""
        helpers = threads.pool.helpers(most, self.tasks) if self.tasks > 1 else 0
        execute_pooling(self.template, source, target, indices, helpers)

    def record(self, program: Recorder, source: Place, target: Place, indices: Place | None, most: int) -> None:
        """Let a program do the same."""
        frame, *_ = self.kept
        places = [(F.INPUT, source), (F.OUTPUT, target), (F.INDICES, indices)]
        program.add(frame, places, [Step(int(frame[F.TASK]), self.tasks, most)], keep=self)


def parts(planes: int, rows: int, size: int) -> dict[int, int]:
    """How ``planes`` of ``rows`` rows, ``size`` bytes of work, are cut into tasks; under TASKS, how many they are."""
    wanted = min(TASKS, max(1, size // TASK_BYTES))
    task_planes = -(-planes // wanted)
    task_rows = -(-rows // min(rows, max(1, wanted // planes)))
    row_blocks = -(-rows // task_rows)
    tasks = -(-planes // task_planes) * row_blocks
    return {F.TASK_PLANES: task_planes, F.TASK_ROWS: task_rows, F.ROW_BLOCKS: row_blocks, F.TASKS: tasks}


def fields_of(g: PoolGeometry) -> dict[int, int]:
    """The geometry's numbers."""
    return {
        F.PLANES: g.N * g.C,
        F.H: g.H,
        F.W: g.W,
        F.P: g.P,
        F.Q: g.Q,
        F.R: g.R,
        F.S: g.S,
        F.DOWN: g.stride[0],
        F.RIGHT: g.stride[1],
        F.TOP: g.padding[0],
        F.LEFT: g.padding[1],
        F.DY: g.dilation[0],
        F.DX: g.dilation[1],
    }
