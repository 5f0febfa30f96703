"""The table of known calls: compiled code looks in it first, and Python code puts in what it may find.

Compiled code reads the table while it holds the interpreter's lock, so it sees each change as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import registry
from fastconv.backends.numba_cpu.calls import builtin, entry, objects
from fastconv.backends.numba_cpu.calls.record import Record
from fastconv.backends.short import Short

_WORD = 1 << 64


class Table:
    """Keeps the records of known calls of all operations."""

    def __init__(self) -> None:
        self._slots = np.zeros(entry.SLOTS + entry.PROBES, np.int64)
        self._misses = np.zeros(entry.COUNTERS, np.int64)
        self._records: dict[int, Record] = {}
        self._states: dict[str, np.ndarray] = {}

    def call(self, operation: str, backend: int) -> Any:
        """Return the function that computes known calls of an operation, as `fastconv.known.Table.call`."""
        state = new_state()
        state[entry.BACKEND], state[entry.OPERATION] = backend, state.ctypes.data
        state[entry.TABLE], state[entry.MISSES] = self._slots.ctypes.data, self._misses.ctypes.data
        self._states[operation] = state
        return builtin.builtin(operation, entry.known_call(), state)

    def learn(self, operation: str, arguments: Sequence[Any], short: Short, shape: tuple[int, ...]) -> None:
        """Know a call from now on, as `fastconv.known.Table.learn`."""
        key, kept = self._key(self._states[operation], arguments)
        record = Record(key, short.program, short.operands, shape, arguments[0].dtype)
        record.keep(*kept)
        first = _hash(key) & (entry.SLOTS - 1)
        places = range(first, first + entry.PROBES)
        free = [place for place in places if place not in self._records or self._records[place].key == key]
        place = free[0] if free else places[len(self._records) % entry.PROBES]
        self._slots[place] = record.address
        self._records[place] = record

    def forget(self) -> None:
        """Forget all calls."""
        self._slots.fill(0)
        self._misses.fill(0)
        self._records.clear()

    def _key(self, state: np.ndarray, arguments: Sequence[Any]) -> tuple[list[int], list[object]]:
        """Return the key of a call, as compiled code writes it, and the objects whose addresses are in it."""
        key, kept = [int(state[entry.OPERATION])], list[object]()
        for number, each in enumerate(arguments):
            if type(each) is np.ndarray:
                key += array_key(each.dtype, each.shape)
                kept.append(each.dtype)
            elif type(each) is tuple:
                key += [entry.TUPLE_TAG, len(each), *map(id, each)]
                kept += each
            else:
                item = registry.choice.get() if each is None and number == state[entry.BACKEND] else each
                key.append(id(item))
                kept.append(item)
        return key, kept


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
    state[entry.INCREASE], state[entry.DECREASE], state[entry.GET_CHOICE] = map(
        objects.python_function, ("Py_IncRef", "Py_DecRef", "PyContextVar_Get")
    )
    state[entry.NEW_ARRAY] = objects.new_array_function()
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
