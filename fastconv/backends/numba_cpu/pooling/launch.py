"""A job of pooling is a compiled task, its arguments, and the split of the work into tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.backends.jit import jit
from fastconv.backends.numba_cpu.pooling.arguments import PoolingArguments
from fastconv.backends.numba_cpu.runtime import thread_pool as threads
from fastconv.backends.numba_cpu.runtime.atomics import RELEASE
from fastconv.backends.numba_cpu.runtime.launch import PLAIN, WORD, held
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder, Step
from fastconv.backends.numba_cpu.runtime.thread_pool import launch
from fastconv.backends.numba_cpu.simd import load_integer, stack_integers, store_integer
from fastconv.backends.numba_cpu.simd.task import Task
from fastconv.geometry import PoolGeometry

TASK_BYTES = 192 << 10
"""Size of the data that a task reads and writes, in bytes. It takes 5 to 20 us: enough to be worth waking a worker."""

TASKS = 32
"""Largest number of tasks in a job. It must not depend on the number of threads."""


_JOB_BYTES = 1024
"""Size of a job's objects besides its tables, in bytes."""


_OPERANDS = PoolingArguments.positions("input", "output", "indices")
_WORDS, _INPUT, _OUTPUT, _INDICES = len(PoolingArguments.words), *_OPERANDS
_TASK, _TASKS = PoolingArguments.positions("task", "tasks")


@jit
def _execute(word, template, source, target, indices, state, helpers, release_lock):
    # The arguments lie on this function's stack: a pooling needs no other memory.
    args = stack_integers()
    for place in range(_WORDS):
        store_integer(args, place, load_integer(template, place))
    store_integer(args, _INPUT, held(source, word))
    store_integer(args, _OUTPUT, held(target, word))
    store_integer(args, _INDICES, held(indices, word))
    launch(state, load_integer(template, _TASK), args, load_integer(template, _TASKS), helpers, release_lock)


@dataclass(frozen=True)
class Job:
    """A job is a template of arguments without the arrays' addresses, and the number of tasks."""

    template: int
    """Address of the template."""
    tasks: int
    kept: tuple[np.ndarray, ...]
    """The template, and the tables that it refers to."""

    @classmethod
    def of(cls, task: Task, vectors: Any, values: dict[str, int], *tables: np.ndarray) -> Job:
        """Return the job of a task compiled for ``vectors``; ``values`` are its arguments except arrays and task."""
        args = PoolingArguments.new(**values, task=task(vectors))
        return cls(args.ctypes.data, values["tasks"], (args, *tables))

    @property
    def nbytes(self) -> int:
        """Return the approximate size of the job and its tables, in bytes."""
        return _JOB_BYTES + sum(table.nbytes for table in self.kept)

    def run(self, source: np.ndarray, target: np.ndarray, indices: np.ndarray | None, most: int) -> None:
        """Do all tasks on at most ``most`` threads; the arrays are C-contiguous.

        ``source`` is the argument ``input`` and ``target`` the argument ``output``; a gradient writes to ``source``.
        """
        helpers = threads.pool.helpers(most, self.tasks) if self.tasks > 1 else 0
        if PLAIN:
            word, objects = WORD, (id(source), id(target), 0 if indices is None else id(indices))
        else:
            addresses = np.array([0 if a is None else a.ctypes.data for a in (source, target, indices)], np.int64)
            base = addresses.ctypes.data
            word, objects = 0, (base, base + 8, 0 if indices is None else base + 16)
        _execute(word, self.template, *objects, threads.pool.state, helpers, RELEASE)

    def record(self, program: ProgramBuilder, source: Place, target: Place, indices: Place | None, most: int) -> None:
        """Record in a program what `run` does, with operands in these places."""
        args, *_ = self.kept
        places = zip(_OPERANDS, (source, target, indices), strict=True)
        program.add(args, places, [Step(int(args["task"][0]), self.tasks, most)], keep=self)


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
