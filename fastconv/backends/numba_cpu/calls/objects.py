"""This file knows where NumPy's arrays keep their fields, and which C functions make arrays and count references.

The fields are part of NumPy's binary interface, which every compiled extension relies on. `probe` compares them with
what Python says of some arrays. Where a field is elsewhere, or the interpreter has no lock that a call could hold, all
calls are made by Python code.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np

TYPE, DATA, RANK, SIZES, DTYPE, FLAGS = 1, 2, 3, 4, 7, 8
"""Places of fields in an array's object, in 64-bit words. The rank and the flags are lower halves of their words."""

LENGTH, FIRST_ITEM = 2, tuple.__basicsize__ // 8
"""Places of the length and the first item in a tuple, in 64-bit words."""

LOW = 0xFFFFFFFF
"""The lower half of a word."""

PLAIN, WRITEABLE = 0x101, 0x400
"""The flags of arrays that are C-contiguous and aligned, and of arrays that may be written to."""

_GET_VERSION, _NEW_FROM_DESCR = 0, 94
"""Places of two functions in the table of NumPy's C interface, in words."""

_ABI = 2
"""The version of NumPy's binary interface that this file was written for, the highest byte of its number."""


def _words(item: object, count: int) -> list[int]:
    return list((ctypes.c_uint64 * count).from_address(id(item)))


def _fields_fit(array: np.ndarray) -> bool:
    """Return True if an array's object has all fields where this file expects them."""
    words = _words(array, FLAGS + 1)
    shape = list((ctypes.c_int64 * array.ndim).from_address(words[SIZES])) if array.ndim else []
    plain = array.flags.c_contiguous + 0x100 * array.flags.aligned + WRITEABLE * array.flags.writeable
    return (
        words[TYPE] == id(type(array))
        and words[DATA] == array.ctypes.data
        and words[RANK] & LOW == array.ndim
        and tuple(shape) == array.shape
        and words[DTYPE] == id(array.dtype)
        and words[FLAGS] & (PLAIN | WRITEABLE) == plain
    )


def _table() -> int:
    """Return the address of the table of NumPy's C interface."""
    from numpy._core import multiarray

    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(get(multiarray._ARRAY_API, None))


def _numpy_function(place: int) -> int:
    return int(ctypes.c_void_p.from_address(_table() + 8 * place).value or 0)


def python_function(name: str) -> int:
    """Return the address of a function of Python's C interface."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


def has_lock() -> bool:
    """Return True if the interpreter has a lock, so that compiled code called by it runs alone."""
    asked: Any = getattr(sys, "_is_gil_enabled", None)
    return asked is None or bool(asked())


def new_array_function() -> int:
    """Return the address of ``PyArray_NewFromDescr``."""
    return _numpy_function(_NEW_FROM_DESCR)


def probe() -> bool:
    """Return True if arrays, tuples and the interpreter are as this file expects them."""
    if sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != 8 or not has_lock():
        return False
    readonly = np.zeros((2, 3), np.float32)
    readonly.setflags(write=False)
    arrays: list[np.ndarray] = [np.zeros((1, 2, 3, 4), np.float32), np.zeros(5)[::2], np.zeros((), np.int8), readonly]
    if object.__basicsize__ != 8 * DATA or not all(map(_fields_fit, arrays)):
        return False
    items = (arrays, readonly)
    if _words(items, FIRST_ITEM + 2)[LENGTH:] != [2, *map(id, items)]:
        return False
    try:
        version = ctypes.CFUNCTYPE(ctypes.c_uint)(_numpy_function(_GET_VERSION))()
    except (ImportError, AttributeError):
        return False
    return version >> 24 == _ABI
