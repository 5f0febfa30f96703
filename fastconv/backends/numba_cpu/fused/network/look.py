"""This job looks whether arrays still have the numbers that they had when a network was made.

Arrays are compared in words of 32 bits. For a weight they are some words far apart, each in a cache line of its own;
compiled code waits for many of these lines at once. Two hundred arrays of MobileNetV2 take some 10 us of two threads,
and took 100 by NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from llvmlite import ir

from fastconv.backends.compiler import intrinsic, types
from fastconv.backends.numba_cpu.runtime.program import ProgramBuilder, Step
from fastconv.backends.numba_cpu.simd import Simd, load_integer
from fastconv.backends.numba_cpu.simd.arguments import Arguments
from fastconv.backends.numba_cpu.simd.task import task
from fastconv.threads import get_num_threads

_WORD = 4
"""Size of the words that are compared, in bytes."""

_ROWS = 16
"""Rows of the table that a task compares."""

_ROW_WORDS = 4
"""Integers of a row: the address of an array, its number of words, the words from one to the next, what they were."""


class LookArguments(Arguments):
    """Lists the arguments of a look at arrays."""

    table: int
    """Address of the rows."""
    rows: int
    changed: int
    """A task sets this to 1 if it finds another number than before."""


(_CHANGED,) = LookArguments.positions("changed")


@intrinsic
def _difference(typing, one, at, other, there):
    """Return the bits that differ in two words, each given by an array's address and the word's place."""
    word = ir.IntType(32)

    def generate(context, builder, signature, arguments):
        one, at, other, there = arguments
        found = [
            builder.load(builder.gep(builder.inttoptr(base, word.as_pointer()), [place]))
            for base, place in ((one, at), (other, there))
        ]
        return builder.zext(builder.xor(*found), ir.IntType(64))

    return types.intp(*[types.intp] * 4), generate


@task(LookArguments)
def _compare(simd, args, task, thread):
    for row in range(task * _ROWS, min(args.rows, (task + 1) * _ROWS)):
        here = args.table + 8 * _ROW_WORDS * row
        source, count, step, before = (
            load_integer(here, 0),
            load_integer(here, 1),
            load_integer(here, 2),
            load_integer(here, 3),
        )
        found = 0
        for i in range(count):
            found |= _difference(source, i * step, before, i)
        if found != 0:
            args.changed = 1


class Look:
    """Holds copies of arrays, and adds the job that compares the arrays with them to programs."""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        """Take one-dimensional arrays of float32 or float64, whose elements may have a distance."""
        rows: list[tuple[int, int, int, int]] = []
        self._arrays = list(arrays)
        self._before = [np.ascontiguousarray(array).copy() for array in arrays]
        for array, before in zip(arrays, self._before, strict=True):
            if array.strides == before.strides:
                rows.append((array.ctypes.data, before.nbytes // _WORD, 1, before.ctypes.data))
                continue
            # The words of an element are compared one by one; what they were lies in rows, first words first.
            words = array.itemsize // _WORD
            turned = np.ascontiguousarray(before.view(np.int32).reshape(-1, words).T)
            before[...] = turned.reshape(-1).view(before.dtype)
            for word in range(words):
                there = word * array.size * _WORD
                place = array.ctypes.data + word * _WORD, array.size, array.strides[0] // _WORD
                rows.append((*place, before.ctypes.data + there))
        self._table = np.array(rows, np.int64).reshape(-1, _ROW_WORDS)

    @property
    def nbytes(self) -> int:
        """Return the size of the copies and the table, in bytes."""
        return self._table.nbytes + sum(each.nbytes for each in self._before)

    def record(self, program: ProgramBuilder, simd: Simd) -> None:
        """Add the job to a program, whose run then returns False where an array has changed."""
        rows = len(self._table)
        if rows:
            args = LookArguments.new(table=self._table.ctypes.data, rows=rows)
            step = Step(_compare(simd), -(-rows // _ROWS), get_num_threads())
            program.add(args, (), [step], flag=_CHANGED)
            program.keep(self)
