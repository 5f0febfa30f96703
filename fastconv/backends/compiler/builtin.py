"""This file makes functions that Python calls directly out of machine code."""

from __future__ import annotations

import ctypes
from typing import Any

_FASTCALL = 0x80
"""``METH_FASTCALL``: the function gets its owner, the address of its arguments and their number."""


class _Definition(ctypes.Structure):
    """A ``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def builtin(name: str, function: int, owner: Any) -> Any:
    """Return a Python function that calls the machine code at an address, which gets ``owner`` first.

    It takes positional arguments only.
    """
    definition = _Definition(name.encode(), function, _FASTCALL, None)
    # The interpreter reads the definition when it frees the function, which may be after this module is gone.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(definition))
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    return make(ctypes.addressof(definition), owner, None)


def probe() -> bool:
    """Return True if a function of Python's own, made the same way, has the definition that this file expects."""
    address = ctypes.c_void_p.from_address(id(divmod) + object.__basicsize__).value
    definition = _Definition.from_address(address or 0)
    return bool(definition.name == b"divmod" and definition.flags == _FASTCALL and definition.function)
