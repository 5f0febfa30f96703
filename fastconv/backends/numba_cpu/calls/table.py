"""The table of known calls: compiled code looks in it first, and Python code puts in what it may find.

Compiled code reads the table while it holds the interpreter's lock, so it sees each change as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv import registry
from fastconv.backends.compiler import builtin
from fastconv.backends.compiler.locks import undisturbed
from fastconv.backends.numba_cpu.calls import entry, objects, tensors
from fastconv.backends.numba_cpu.calls.record import Record
from fastconv.backends.short import Short
from fastconv.known import TensorInterface

_WORD = 1 << 64

TENSORS = {
    "conv2d": 3,
    "conv2d_input": 2,
    "conv2d_weight": 2,
    "max_pool2d": 1,
    "max_pool2d_gradient": 2,
    "avg_pool2d": 1,
    "avg_pool2d_backward": 1,
}
"""How many of an operation's first arguments are tensors, of which the last may be None."""

Shape = tuple[int, ...]
Words = Callable[[Any], list[int]]
"""A function that returns the words of an array in a key."""


class Table:
    """Keeps the records of known calls of all operations."""

    def __init__(self) -> None:
        self._slots = np.zeros(entry.SLOTS + entry.PROBES, np.int64)
        self._misses = np.zeros(entry.COUNTERS, np.int64)
        self._records: dict[int, Record] = {}
        self._operations: dict[tuple[str, type | None], tuple[np.ndarray, Words]] = {}

    def call(self, operation: str, backend: int) -> Any:
        """Return the function that computes known calls of an operation, as `fastconv.known.Table.call`."""
        state = self._noted(operation, backend, np.ndarray, new_state(), _words)
        return builtin.builtin(operation, entry.known_call(), state)

    def tensor_call(self, operation: str, backend: int, interface: TensorInterface, words: Words) -> Any:
        """Return the same for tensors, as `fastconv.known.Table.tensor_call`."""
        state = self._noted(operation, backend, None, tensor_state(interface, TENSORS[operation]), words)
        return builtin.builtin(operation, tensors.known_call(), state)

    def _noted(self, operation: str, backend: int, kind: type | None, state: np.ndarray, words: Words) -> np.ndarray:
        """Return the state of an operation on arrays, or on tensors if ``kind`` is None, after filling it in."""
        state[entry.BACKEND], state[entry.OPERATION] = backend, state.ctypes.data
        state[entry.TABLE], state[entry.MISSES] = self._slots.ctypes.data, self._misses.ctypes.data
        self._operations[operation, kind] = state, words
        return state

    def learn(self, operation: str, arguments: Sequence[Any], short: Short, shape: Shape, dtype: np.dtype) -> None:
        """Know a call from now on, as `fastconv.known.Table.learn`."""
        kind = np.ndarray if type(arguments[0]) is np.ndarray else None
        key, kept = self._key(*self._operations[operation, kind], arguments)
        record = Record(key, short.program, short.operands, shape, dtype)
        record.keep(*kept)
        undisturbed(lambda: self._put(record))

    def _put(self, record: Record) -> None:
        # One thread at a time: where two put or forget records in turns, a slot would point to one that is gone.
        key = record.key
        first = _hash(key) & (entry.SLOTS - 1)
        places = range(first, first + entry.PROBES)
        free = [place for place in places if place not in self._records or self._records[place].key == key]
        place = free[0] if free else places[len(self._records) % entry.PROBES]
        self._slots[place] = record.address
        self._records[place] = record

    def forget(self) -> None:
        """Forget all calls."""
        undisturbed(self._clear)

    def _clear(self) -> None:
        self._slots.fill(0)
        self._misses.fill(0)
        self._records.clear()

    def _key(self, state: np.ndarray, words: Words, arguments: Sequence[Any]) -> tuple[list[int], list[object]]:
        """Return the key of a call, as compiled code writes it, and the objects whose addresses are in it."""
        key, kept = [int(state[entry.OPERATION])], list[object]()
        for number, each in enumerate(arguments):
            if hasattr(each, "dtype"):
                key += words(each)
                kept += [each.dtype, type(each)]
            elif type(each) is tuple:
                key += [entry.TUPLE_TAG, len(each), *map(id, each)]
                kept += each
            else:
                item = registry.choice.get() if each is None and number == state[entry.BACKEND] else each
                key.append(id(item))
                kept.append(item)
        return key, kept


def _words(array: np.ndarray) -> list[int]:
    return array_key(array.dtype, array.shape)


def array_key(dtype: np.dtype, shape: Sequence[int]) -> list[int]:
    """Return the words of a C-contiguous, aligned array in a key."""
    return [entry.ARRAY_TAG, id(dtype), len(shape) << 32 | objects.PLAIN, *shape]


def probe() -> bool:
    """Return True if NumPy and the interpreter are what compiled code expects."""
    return objects.probe() and builtin.probe()


def new_state() -> np.ndarray:
    """Return the state of a function that compiled code is to answer: addresses of types, objects and functions."""
    state = np.zeros(entry.STATE, np.int64)
    state[entry.NDARRAY], state[entry.TUPLE] = id(np.ndarray), id(tuple)
    state[entry.NONE], state[entry.MISSED], state[entry.CHOICE] = id(None), id(NotImplemented), id(registry.choice)
    functions = {
        entry.INCREASE: "Py_IncRef",
        entry.DECREASE: "Py_DecRef",
        entry.NEW_TUPLE: "PyTuple_New",
        entry.SET_ITEM: "PyTuple_SetItem",
        entry.GET_CHOICE: "PyContextVar_Get",
        entry.CLEAR: "PyErr_Clear",
    }
    for word, name in functions.items():
        state[word] = objects.python_function(name)
    state[entry.NEW_ARRAY] = objects.new_array_function()
    return state


def tensor_state(interface: TensorInterface, tensors: int) -> np.ndarray:
    """Return the state of a function whose first arguments are tensors."""
    state = new_state()
    state[entry.INTERFACE :], state[entry.TENSORS] = interface, tensors
    return state


def start() -> Table | None:
    """Return a new table, or None where NumPy or the interpreter are unlike what compiled code expects."""
    return Table() if probe() else None


def _hash(key: Sequence[int]) -> int:
    """Return what `entry` computes of a key."""
    value = 0
    for word in key:
        value = (value ^ word) * entry.FACTOR % _WORD
        value -= _WORD if value >= _WORD // 2 else 0
        value ^= value >> entry.SHIFT
    return value
