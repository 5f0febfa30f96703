"""Functions for Numba are marked here as such, and become Numba's own when it first compiles one that refers to them.

Numba sees a `Deferred` function as the object that object_code/ makes of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

__all__ = ["Deferred", "Kernel", "cgutils", "import_needed", "inner", "intrinsic", "needs", "types"]


@dataclass(frozen=True, eq=False)
class Deferred:
    """This function is one that Numba will compile, or one that emits instructions when it does."""

    function: Callable[..., Any]
    emits: bool
    """True if it is an intrinsic."""
    options: dict[str, Any]
    """Further options of `numba.njit` or `numba.extending.intrinsic`."""


def intrinsic(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Mark a function that emits instructions, as `numba.extending.intrinsic` does, with the same options."""
    if function is None:
        return partial(intrinsic, **options)
    return Deferred(function, True, options)


def inner(function: Callable[..., Any], **options: Any) -> Any:
    """Mark a function that kernels call, not Python.

    It goes into the object code of its callers and gets none of its own. Integer division by zero is not looked for.
    ``options`` are further ones of `numba.njit`.
    """
    return Deferred(function, False, options)


@dataclass(frozen=True)
class Kernel:
    """A `Kernel` is a function to compile, and what its arguments are."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    """A class for each argument: ``int``, or a class of named integers, whose address the argument is. Or a constant,
    such as the kind of the vectors, which callers don't give."""
    returns: bool = False
    """True if it returns an integer."""


_needed: list[str] = []


def needs(module: str) -> None:
    """Have a module imported before anything is compiled: it makes types known to Numba."""
    _needed.append(module)


def import_needed() -> None:
    """Import the modules that `needs` named."""
    for module in _needed:
        importlib.import_module(module)


class _Module:
    """This stands for one of Numba's modules, and imports it at the first use."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


if TYPE_CHECKING:
    from numba.core import cgutils, types
else:
    cgutils, types = _Module("numba.core.cgutils"), _Module("numba.core.types")
