"""From Python into compiled code, fast: arrays' addresses, a job's frame and its tasks in a single call.

NumPy's own ways to an array's address take a microsecond each, a third of what a small call may cost. But an array's
object holds the address of its data right after the header that every Python object has. This is part of NumPy's binary
interface, which compiled extensions, Numba's among them, rely on; it is tried once, on an array, when this module is
loaded, and where it doesn't hold the slow way is taken. A pooling of a small image takes 3 us so, and took 7.
"""

from __future__ import annotations

import ctypes

import numpy as np

from fastconv.backends.jit import jit
from fastconv.backends.numba_cpu.gemm.fields import COUNT
from fastconv.backends.numba_cpu.pooling import fields as pooling_fields
from fastconv.backends.numba_cpu.runtime import thread_pool as workers
from fastconv.backends.numba_cpu.runtime.atomics import RELEASE
from fastconv.backends.numba_cpu.runtime.thread_pool import launch
from fastconv.backends.numba_cpu.simd import load_integer, stack_integers, store_integer

FRAME_BYTES = 512
"""Kept free for the frame at the beginning of a job's memory."""

_WORD = object.__basicsize__ // 8


@jit
def _address(holder, word):
    """What stands in a word of an object; 0 where there is no object."""
    return load_integer(holder, word) if holder != 0 else 0


@jit
def _execute(word, template, memory, operands, objects, parts, offsets, state, first, second, helpers, release_lock):
    frame = load_integer(memory, word)
    source = load_integer(template, word)
    for field in range(COUNT):
        store_integer(frame, field, load_integer(source, field))
    for i in range(len(operands)):
        store_integer(frame, operands[i], _address(objects[i], word))
    for i in range(len(parts)):
        store_integer(frame, parts[i], frame + offsets[i])
    launch(state, first[0], frame, first[1], helpers, release_lock)
    if second[1] > 0:
        launch(state, second[0], frame, second[1], helpers, release_lock)


def execute(
    template: np.ndarray,
    memory: np.ndarray,
    operands: tuple[int, ...],
    arrays: tuple[np.ndarray | None, ...],
    parts: tuple[int, int],
    offsets: tuple[int, int],
    first: tuple[int, int],
    second: tuple[int, int],
    threads: int,
) -> None:
    """Run a job of one or two steps.

    Args:
        template: the frame, but for addresses.
        memory: the job's own; the frame is put at its beginning.
        operands, arrays: fields of the frame, and the arrays whose addresses go there; None for 0.
        parts, offsets: fields of the frame, and the bytes from the beginning of ``memory`` to what they refer to.
        first, second: each the address of a task and how many there are.
        threads: how many may take part.
    """
    helpers = workers.pool.helpers(threads, max(first[1], second[1]))
    if _PLAIN:
        found = tuple([0 if array is None else id(array) for array in arrays])
        places = (_WORD, id(template), id(memory))
    else:
        addresses = np.array([0 if a is None else a.ctypes.data for a in (template, memory, *arrays)], np.int64)
        found = tuple(0 if a is None else addresses.ctypes.data + 8 * i for i, a in enumerate(arrays, 2))
        places = (0, addresses.ctypes.data, addresses.ctypes.data + 8)
    _execute(*places, operands, found, parts, offsets, workers.pool.state, first, second, helpers, RELEASE)


@jit
def _execute_pooling(word, template, source, target, indices, state, helpers, release_lock):
    frame = stack_integers()
    for field in range(pooling_fields.COUNT):
        store_integer(frame, field, load_integer(template, field))
    store_integer(frame, pooling_fields.INPUT, _address(source, word))
    store_integer(frame, pooling_fields.OUTPUT, _address(target, word))
    store_integer(frame, pooling_fields.INDICES, _address(indices, word))
    task, tasks = load_integer(template, pooling_fields.TASK), load_integer(template, pooling_fields.TASKS)
    launch(state, task, frame, tasks, helpers, release_lock)


def execute_pooling(
    template: int, source: np.ndarray, target: np.ndarray, indices: np.ndarray | None, helpers: int
) -> None:
    """Run a pooling's job: as `execute`, with the frame on the caller's stack, since nothing else needs memory.

    Args:
        template: the address of the frame, but for addresses of arrays; fields are those of `pooling_fields`.
        source, target, indices: for INPUT, OUTPUT and INDICES.
        helpers: how many threads may take part beside the caller.
    """
    if _PLAIN:
        word, objects = _WORD, (id(source), id(target), 0 if indices is None else id(indices))
    else:
        addresses = np.array([0 if a is None else a.ctypes.data for a in (source, target, indices)], np.int64)
        base = addresses.ctypes.data
        word, objects = 0, (base, base + 8, 0 if indices is None else base + 16)
    _execute_pooling(word, template, *objects, workers.pool.state, helpers, RELEASE)


def address(array: np.ndarray) -> int:
    """Of an array's first element."""
    return int(_address(id(array), _WORD)) if _PLAIN else int(array.ctypes.data)


def _is_plain() -> bool:
    """Whether arrays are laid out as expected."""
    probe = np.empty(3)
    return ctypes.c_void_p.from_address(id(probe) + 8 * _WORD).value == probe.ctypes.data


_PLAIN = _is_plain()
