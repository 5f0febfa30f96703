"""A record says in one array of integers what a known call does: its key, its result, and the steps of its program.

Compiled code runs a short program in place, while it holds the interpreter's lock: the program's arguments are in the
record, with all addresses written but those of the call's own arrays, and its workspace is shared by all short
programs of the process. So a call copies nothing, and allocates nothing but its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.calls.objects import DATA
from fastconv.backends.numba_cpu.runtime.program import HEAD as PROGRAM_HEAD
from fastconv.backends.numba_cpu.runtime.program import Program
from fastconv.backends.numba_cpu.simd import call, load_integer, store_integer
from fastconv.backends.short import ABSENT, INDICES, RESULT

WORKSPACE_BYTES = 1 << 20
"""Size limit of a short program's workspace, in bytes."""

# The first words of a record: lengths, and addresses of what follows in the record.
KEY_WORDS, KEY, DIMS, SHAPE, PLACES, PLACE, STEPS, STEP, FLAGS, FLAG = range(10)
# Then what else a call needs; the data type of indices is 0 where the program writes none.
DTYPE, INDEX_DTYPE, ITEM_BYTES, STATE, HEAD = range(10, 15)

_LINE = 64

_INDICES = np.dtype(np.int64)


class Workspace:
    """Holds the memory that all short programs of a process use in turn; it is made when the first one needs it."""

    def __init__(self) -> None:
        self._memory: np.ndarray | None = None

    @property
    def start(self) -> int:
        """Return the address of the workspace, which begins at a cache line."""
        if self._memory is None:
            self._memory = np.empty(WORKSPACE_BYTES + _LINE, np.uint8)
        return -(-self._memory.ctypes.data // _LINE) * _LINE


_workspace = Workspace()


class Record:
    """Holds a record, and what its addresses point to."""

    def __init__(
        self, key: Sequence[int], program: Program, operands: Sequence[Any], shape: Sequence[int], dtype: np.dtype
    ) -> None:
        """Make the record of a short program.

        Args:
            key: the key of the calls that the record is for.
            program: a program that needs no helpers, and `WORKSPACE_BYTES` of memory at most.
            operands: for each operand of the program, the number of its argument in a call, `RESULT`, `INDICES`,
                `ABSENT`, or an array that is always the operand.
            shape, dtype: those of the result.
        """
        self.key = list(key)
        jobs, addresses, steps, flags = _parts(program.code)
        memory = np.zeros(len(jobs) + _LINE // 8, np.int64)
        first = -memory.ctypes.data % _LINE // 8
        args = memory[first : first + len(jobs)]
        args[:] = jobs
        start, beyond = int(args.ctypes.data), _workspace.start - jobs.nbytes
        places = []
        for place, base, offset in addresses.reshape(-1, 3).tolist():
            operand = operands[base - 1] if base else None
            if base == 0:
                args[place] = beyond + offset
            elif isinstance(operand, np.ndarray):
                args[place] = operand.ctypes.data + offset
            elif operand != ABSENT:
                places.append((start + 8 * place, operand, offset))
        run = [(task, start + offset, count) for task, offset, count, _ in steps.reshape(-1, 4).tolist()]
        tables = [np.array(part, np.int64).reshape(-1) for part in (key, shape, places, run, start + 8 * flags)]
        self.words = np.zeros(HEAD, np.int64)
        counts = len(key), len(shape), len(places), len(run), len(flags)
        ends = (KEY_WORDS, KEY), (DIMS, SHAPE), (PLACES, PLACE), (STEPS, STEP), (FLAGS, FLAG)
        for (many, where), count, table in zip(ends, counts, tables, strict=True):
            self.words[many], self.words[where] = count, table.ctypes.data
        indexed = any(type(operand) is int and operand == INDICES for operand in operands)
        self.words[DTYPE], self.words[ITEM_BYTES] = id(dtype), dtype.itemsize
        self.words[INDEX_DTYPE] = id(_INDICES) if indexed else 0
        self._kept: list[object] = [program, memory, dtype, *operands, *tables]

    @property
    def address(self) -> int:
        """Return the address of the record."""
        return int(self.words.ctypes.data)

    def keep(self, *objects: object) -> None:
        """Let objects live as long as the record."""
        self._kept += objects


def _parts(code: np.ndarray) -> list[np.ndarray]:
    """Return the words of a program's arguments, and its tables of addresses, steps and flags (`Program`)."""
    words, addresses, steps, _ = code[:PROGRAM_HEAD].tolist()
    return np.split(code[PROGRAM_HEAD:], np.cumsum([words, 3 * addresses, 4 * steps]))


@inner
def compute(record, arguments, result, indices):
    """Run a record's program on the arrays among ``arguments``; return False if it set a flag."""
    flags, flag = load_integer(record, FLAGS), load_integer(record, FLAG)
    for number in range(flags):
        store_integer(load_integer(flag, number), 0, 0)
    at = load_integer(record, PLACE)
    for _ in range(load_integer(record, PLACES)):
        number = load_integer(at, 1)
        made = result if number == RESULT else indices
        array = load_integer(arguments, number) if number >= 0 else made
        store_integer(load_integer(at, 0), 0, load_integer(array, DATA) + load_integer(at, 2))
        at += 24
    at = load_integer(record, STEP)
    for _ in range(load_integer(record, STEPS)):
        task, args = load_integer(at, 0), load_integer(at, 1)
        for number in range(load_integer(at, 2)):
            call(task, (args, number, 0))
        at += 24
    found = 0
    for number in range(flags):
        found |= load_integer(load_integer(flag, number), 0)
    return found == 0
