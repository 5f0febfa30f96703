"""This file runs a job from Python in a single call, which sets its arguments and arrays' addresses and does its tasks.

NumPy's own ways to an array's address take a microsecond each, a third of what a small call may cost. But an array's
object holds the address of its data right after the header that every Python object has. This is part of NumPy's binary
interface, which compiled extensions, Numba's among them, rely on. It is tried once, on an array, when this module is
loaded; where it doesn't hold, NumPy's own way is taken. A pooling of a small image takes 3 us so, and took 7.
"""

from __future__ import annotations

import ctypes

import numpy as np

from fastconv.backends.jit import jit
from fastconv.backends.numba_cpu.runtime import thread_pool as workers
from fastconv.backends.numba_cpu.runtime.atomics import RELEASE
from fastconv.backends.numba_cpu.runtime.thread_pool import launch
from fastconv.backends.numba_cpu.simd import load_integer, store_integer
from fastconv.backends.numba_cpu.simd.arguments import MOST_WORDS

ARGUMENTS_BYTES = 8 * MOST_WORDS
"""Size of the space for the arguments at the beginning of a job's memory, in bytes."""

WORD = object.__basicsize__ // 8
"""Place of the address of an array's data in the array's object, in 64-bit words."""


@jit
def held(holder, word):
    """Return word ``word`` of the object at the address ``holder``, or 0 where that address is 0."""
    return load_integer(holder, word) if holder != 0 else 0


@jit
def _execute(word, template, memory, operands, objects, parts, offsets, state, first, second, helpers, release_lock):
    args = load_integer(memory, word)
    source = load_integer(template, word)
    for place in range(MOST_WORDS):
        store_integer(args, place, load_integer(source, place))
    for i in range(len(operands)):
        store_integer(args, operands[i], held(objects[i], word))
    for i in range(len(parts)):
        store_integer(args, parts[i], args + offsets[i])
    launch(state, first[0], args, first[1], helpers, release_lock)
    if second[1] > 0:
        launch(state, second[0], args, second[1], helpers, release_lock)


def execute(
    template: np.ndarray,
    memory: np.ndarray,
    operands: tuple[int, ...],
    arrays: tuple[np.ndarray | None, ...],
    parts: tuple[int, ...],
    offsets: tuple[int, int],
    first: tuple[int, int],
    second: tuple[int, int],
    threads: int,
) -> None:
    """Run a job of one or two steps.

    Args:
        template: the job's arguments without the addresses.
        memory: the job's memory; the arguments are written to its beginning.
        operands, arrays: places of arguments, and the arrays whose addresses are written there; None means address 0.
        parts, offsets: places of arguments, and how far from the beginning of ``memory`` their addresses point, in
            bytes.
        first, second: the steps, each as the address of a task and the number of calls.
        threads: the most threads that may take part, the caller included.
    """
    helpers = workers.pool.helpers(threads, max(first[1], second[1]))
    if PLAIN:
        found = tuple([0 if array is None else id(array) for array in arrays])
        places = (WORD, id(template), id(memory))
    else:
        addresses = np.array([0 if a is None else a.ctypes.data for a in (template, memory, *arrays)], np.int64)
        found = tuple(0 if a is None else addresses.ctypes.data + 8 * i for i, a in enumerate(arrays, 2))
        places = (0, addresses.ctypes.data, addresses.ctypes.data + 8)
    _execute(*places, operands, found, parts, offsets, workers.pool.state, first, second, helpers, RELEASE)


def address(array: np.ndarray) -> int:
    """Return the address of an array's first element."""
    return int(held(id(array), WORD)) if PLAIN else int(array.ctypes.data)


def _is_plain() -> bool:
    """Return whether `WORD` of an array's object holds the address of its data."""
    probe = np.empty(3)
    return ctypes.c_void_p.from_address(id(probe) + 8 * WORD).value == probe.ctypes.data


PLAIN = _is_plain()
"""Whether `held` may be used to find the address of an array's data."""
