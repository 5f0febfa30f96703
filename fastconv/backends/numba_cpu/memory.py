"""Addresses of arrays, fetched fast: NumPy's own ways take a microsecond each, a third of what a small call may cost.

An array's object holds the address of its data right after the header that every Python object has. This is part of
NumPy's binary interface, which compiled extensions, Numba's among them, rely on; it is tried once, on an array, when
this module is loaded, and where it doesn't hold the slow way is taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.jit import jit
from fastconv.backends.numba_cpu.simd import load_integer, store_integer


@jit
def _bind(frame, fields, objects, place):
    target = load_integer(frame, place)
    for i in range(len(fields)):
        address = 0
        if objects[i] != 0:
            address = load_integer(objects[i], place)
        store_integer(target, fields[i], address)
    return target


_PROBE = np.empty(3)
_WORD = object.__basicsize__ // 8


def bind(frame: np.ndarray, fields: tuple[int, ...], arrays: tuple[np.ndarray | None, ...]) -> int:
    """Put the addresses of the arrays, 0 for None, at the frame's ``fields``, and give the frame's own address.

    The caller keeps the arrays alive.
    """
    if _FAST:
        return _bind(id(frame), fields, tuple([0 if array is None else id(array) for array in arrays]), _WORD)
    for field, array in zip(fields, arrays, strict=True):
        frame[field] = 0 if array is None else array.ctypes.data
    return frame.ctypes.data


def _holds() -> bool:
    import ctypes

    word: Any = ctypes.c_void_p.from_address(id(_PROBE) + 8 * _WORD)
    return word.value == _PROBE.ctypes.data


_FAST = _holds()
