"""This job looks whether the operands of a call are the torch tensors that a network was made of, in the same memory.

By Python's functions of tensors that takes 46 us for the 158 parameters of MobileNetV2 and 190 for ResNet-50's, whose
products have driven all of Python's objects out of the caches. Here many reads are under way at once.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.network import HeldTensors
from fastconv.backends.numba_cpu.calls.c_calls import c_call
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder, Step
from fastconv.backends.numba_cpu.simd import Simd, load_integer, stack_integers
from fastconv.backends.numba_cpu.simd.arguments import Arguments
from fastconv.backends.numba_cpu.simd.task import task
from fastconv.threads import get_num_threads

_ROWS = 16
"""Tensors that a task looks at."""

_ROW_WORDS = 4

_INT = 0xFFFFFFFF
"""The bits of a result that C declares an int."""


class TensorLookArguments(Arguments):
    """Lists the arguments of a look at tensors."""

    items: int
    """Address of the addresses of the operands' objects."""
    table: int
    """Address of `HeldTensors.rows`."""
    rows: int
    handle: int
    data: int
    version: int
    changed: int
    """A task sets this to 1 if it finds another tensor, or one in other memory."""


_ITEMS, _CHANGED = TensorLookArguments.positions("items", "changed")


@task(TensorLookArguments)
def _look(simd, args, task, thread):
    found = stack_integers()
    for row in range(task * _ROWS, min(args.rows, (task + 1) * _ROWS)):
        here = args.table + 8 * _ROW_WORDS * row
        handle = load_integer(args.items, load_integer(here, 0)) + args.handle
        # torch's functions are asked about tensors alone that are known to be what they expect.
        same = load_integer(handle, 0) == load_integer(here, 1)
        if same:
            same = c_call(args.data, (handle, found)) & _INT == 0 and load_integer(found, 0) == load_integer(here, 2)
        if same and load_integer(here, 3) >= 0:
            same = c_call(args.version, (handle,)) == load_integer(here, 3)
        if not same:
            args.changed = 1


class TensorLook:
    """Holds what tensors were, and adds the job that compares the operands with it to programs."""

    def __init__(self, held: HeldTensors) -> None:
        """Take the tensors."""
        self._held, self._table = held, np.ascontiguousarray(held.rows, np.int64)

    @property
    def nbytes(self) -> int:
        """Return the size of the table, in bytes."""
        return self._table.nbytes

    def record(self, program: ProgramBuilder, simd: Simd, items: Place) -> None:
        """Add the job to a program, whose run then returns False where an operand isn't what it was."""
        rows, held = len(self._table), self._held
        if rows:
            args = TensorLookArguments.new(
                table=self._table.ctypes.data, rows=rows, handle=held.handle, data=held.data, version=held.version
            )
            step = Step(_look(simd), -(-rows // _ROWS), get_num_threads())
            program.add(args, [(_ITEMS, items)], [step], flag=_CHANGED)
            program.keep(self)
