"""Pooling's jobs: a compiled task, its frame, and the parts of the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fastconv.backends.numba_cpu import pool as threads
from fastconv.backends.numba_cpu import pooling_fields as F
from fastconv.geometry import PoolGeometry

TASK_BYTES = 192 << 10
"""Read and written by a task, 5 to 20 us: enough to be worth waking a helper for."""

TASKS = 32
"""The most there are of them: it must not depend on the number of threads."""


@cache
def _address(make: Callable[[Any], int], vectors: Any) -> int:
    return make(vectors)


@dataclass(frozen=True)
class Job:
    """A frame without the arrays' addresses, and what it takes to run it."""

    task: int
    """The address of the compiled task."""
    tasks: int
    frame: np.ndarray
    tables: tuple[np.ndarray, ...]
    """What the frame refers to, kept alive."""

    @classmethod
    def of(cls, make: Callable[[Any], int], vectors: Any, fields: dict[int, int], *tables: np.ndarray) -> Job:
        """From what compiles the task, what vectors it is made for, and the frame; COUNT stands for how many tasks."""
        frame = np.zeros(F.COUNT + 1, np.int64)
        frame[list(fields)] = list(fields.values())
        return cls(_address(make, vectors), fields[F.COUNT], frame, tables)

    def run(self, addresses: dict[int, np.ndarray], helpers: int) -> None:
        """Do all tasks, with arrays at their places in the frame."""
        frame = self.frame.copy()
        for field, array in addresses.items():
            frame[field] = array.ctypes.data
        threads.pool.run(self.task, frame.ctypes.data, self.tasks, helpers)


def parts(planes: int, rows: int, size: int) -> dict[int, int]:
    """How ``planes`` of ``rows`` rows, ``size`` bytes of work, are cut into tasks; under COUNT, how many they are."""
    wanted = min(TASKS, max(1, size // TASK_BYTES))
    task_planes = -(-planes // wanted)
    task_rows = -(-rows // min(rows, max(1, wanted // planes)))
    row_blocks = -(-rows // task_rows)
    tasks = -(-planes // task_planes) * row_blocks
    return {F.TASK_PLANES: task_planes, F.TASK_ROWS: task_rows, F.ROW_BLOCKS: row_blocks, F.COUNT: tasks}


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
