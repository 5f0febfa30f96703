"""Functions that Python calls with arrays are compiled at their first call, and Numba is imported then."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from fastconv.backends.compiler.locks import import_error


def unavailable() -> str | None:
    """Return why functions can't be compiled here, or None."""
    return import_error("fastconv.backends.jit")


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function``, compiled for the types of the arrays that it gets: see `fastconv.backends.jit`."""

    @cache
    def compiled() -> Any:
        from fastconv.backends.jit import jit as numbas

        return numbas(function)

    @wraps(function)
    def call(*arguments: Any) -> Any:
        return compiled()(*arguments)

    return call
