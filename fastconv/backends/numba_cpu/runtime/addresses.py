"""This file finds the addresses of arrays, by which compiled code gets at their numbers.

NumPy's own ways to an array's address take a microsecond each, a third of what a small call may cost. But an array's
object holds the address of its data right after the header that every Python object has. This is part of NumPy's binary
interface, which compiled extensions, Numba's among them, rely on. It is tried once, on an array, when this module is
loaded; where it doesn't hold, NumPy's own way is taken. A pooling of a small image takes 3 us so, and took 7.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.backends.compiler import inner
from fastconv.backends.compiler.entry import Entry
from fastconv.backends.numba_cpu.simd import load_integer

DIRECT = -1
"""Stands in the place of `word` for holders that are the addresses themselves."""


@inner
def held(holder, word):
    """Return word ``word`` of the object at the address ``holder``, and 0 where that address is 0."""
    if word < 0 or holder == 0:
        return holder
    return load_integer(holder, word)


@Entry
def _held(arguments):
    """Return `held` of the arguments."""
    return held(load_integer(arguments, 0), load_integer(arguments, 1))


def address(array: Any) -> int:
    """Return the address of the first element of a NumPy array or a torch tensor; 0 for None."""
    if array is None:
        return 0
    return _held.call(holder(array), word) if isinstance(array, np.ndarray) else int(array.data_ptr())


def addresses_of(arrays: Sequence[Any]) -> list[int]:
    """Return the `address` of each array; the first isn't None, and all are arrays, or tensors, as that one is."""
    if isinstance(arrays[0], np.ndarray):
        return [address(each) for each in arrays]
    return [0 if each is None else each.data_ptr() for each in arrays]  # a third of the time


def holder(array: np.ndarray | None) -> int:
    """Return an integer with which `held` finds the array's address in compiled code."""
    if array is None:
        return 0
    return id(array) if word >= 0 else int(array.ctypes.data)


def holders(arrays: tuple[np.ndarray | None, ...]) -> tuple[int, ...]:
    """Return the `holder` of each array."""
    if word < 0:
        return tuple([holder(array) for array in arrays])
    return tuple([0 if array is None else id(array) for array in arrays])


def _find_word() -> int:
    """Return the place of the address of an array's data in the array's object, in 64-bit words, or else `DIRECT`."""
    probe, place = np.empty(3), object.__basicsize__ // 8
    return place if ctypes.c_void_p.from_address(id(probe) + 8 * place).value == probe.ctypes.data else DIRECT


word = _find_word()
"""The word that `held` reads, or `DIRECT` where arrays have another layout."""
