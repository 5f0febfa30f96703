"""A pooling operation is a compiled task, its arguments, and the split of the work into tasks."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numba_cpu.pooling.arguments import PoolingArguments
from fastconv.backends.numba_cpu.runtime.program import Operation, Place, ProgramBuilder, Step
from fastconv.backends.numba_cpu.simd.task import Task
from fastconv.geometry import PoolGeometry
from fastconv.threads import get_num_threads

TASK_BYTES = 192 << 10
"""Size of the data that a task reads and writes, in bytes. It takes 5 to 20 us: enough to be worth waking a worker."""

TASKS = 32
"""Largest number of tasks in an operation. It must not depend on the number of threads."""

_OBJECT_BYTES = 1024
"""Size of an operation's objects besides its tables, in bytes."""

_OPERANDS = PoolingArguments.positions("input", "output", "indices")


class PoolingOperation(Operation):
    """A pooling operation runs a task on the arrays input, output and indices; a gradient writes to the input."""

    def __init__(self, task: Task, vectors: Any, values: dict[str, int], *tables: np.ndarray) -> None:
        """Compile ``task`` for ``vectors``.

        ``values`` are its arguments except the arrays, and "tasks", the number of tasks; they refer to the ``tables``.
        """
        super().__init__()
        self.tasks = values["tasks"]
        self.args = PoolingArguments.new(**{name: value for name, value in values.items() if name != "tasks"})
        self.tables, self.task = tables, task(vectors)

    @property
    def nbytes(self) -> int:
        return _OBJECT_BYTES + self.args.nbytes + sum(table.nbytes for table in self.tables)

    def emit(self, program: ProgramBuilder, *places: Place | None, watch: bool = True) -> None:
        step = Step(self.task, self.tasks, get_num_threads())
        program.add(self.args, zip(_OPERANDS, places, strict=True), [step])


def parts(planes: int, rows: int, size: int) -> dict[str, int]:
    """Return the arguments that cut ``planes`` planes of ``rows`` rows, ``size`` bytes in all, into tasks."""
    wanted = min(TASKS, max(1, size // TASK_BYTES))
    task_planes = -(-planes // wanted)
    task_rows = -(-rows // min(rows, max(1, wanted // planes)))
    row_blocks = -(-rows // task_rows)
    tasks = -(-planes // task_planes) * row_blocks
    return {"task_planes": task_planes, "task_rows": task_rows, "row_blocks": row_blocks, "tasks": tasks}


def arguments_of(g: PoolGeometry) -> dict[str, int]:
    """Return the geometry's numbers as arguments."""
    return {
        "planes": g.N * g.C,
        "H": g.H,
        "W": g.W,
        "P": g.P,
        "Q": g.Q,
        "R": g.R,
        "S": g.S,
        "down": g.stride[0],
        "right": g.stride[1],
        "top": g.padding[0],
        "left": g.padding[1],
        "DY": g.dilation[0],
        "DX": g.dilation[1],
    }
