"""Functions for Numba are marked here as such, and become Numba's own when it first compiles one that refers to them.

Numba sees a `Deferred` function as the object that it stands for (object_code.py).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fastconv.backends.compiler.locks import compiling


class Deferred:
    """This function will be one of Numba's objects, which ``make`` returns; a call from Python compiles it."""

    def __init__(self, function: Callable[..., Any], make: Callable[[Callable[..., Any]], Any]) -> None:
        self.function, self._make, self._made = function, make, None
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self.__module__, self.__qualname__ = function.__module__, function.__qualname__

    @property
    def made(self) -> Any:
        """Return the object of Numba's."""
        if self._made is None:
            with compiling:
                if self._made is None:
                    self._made = self._make(self.function)
        return self._made

    def __call__(self, *arguments: Any) -> Any:
        return self.made(*arguments)


_needed: list[str] = []


def needs(module: str) -> None:
    """Have a module imported before anything is compiled: it makes types known to Numba."""
    _needed.append(module)


def import_needed() -> None:
    """Import the modules that `needs` named."""
    for module in _needed:
        importlib.import_module(module)


def intrinsic(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Mark a function that emits instructions, as `numba.extending.intrinsic` does, with the same options."""
    if function is None:
        return partial(intrinsic, **options)

    def make(function: Callable[..., Any]) -> Any:
        from numba.extending import intrinsic as numbas

        return numbas(**options)(function) if options else numbas(function)

    return Deferred(function, make)


def inner(function: Callable[..., Any], **options: Any) -> Any:
    """Mark a function that kernels call, not Python.

    It goes into the object code of its callers and gets none of its own. Integer division by zero is not looked for.
    ``options`` are further ones of `numba.njit`.
    """

    def make(function: Callable[..., Any]) -> Any:
        from fastconv.backends.compiler.object_code import inner as numbas

        return numbas(function, **options)

    return Deferred(function, make)


def jit(function: Callable[..., Any]) -> Any:
    """Mark a function that Python calls with arrays, for all types of which it is compiled: `fastconv.backends.jit`."""

    def make(function: Callable[..., Any]) -> Any:
        from fastconv.backends.jit import jit as numbas

        return numbas(function)

    return Deferred(function, make)


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
