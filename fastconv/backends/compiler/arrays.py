"""Functions that Python calls with arrays are compiled at their first call, and Numba is imported then."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any


def unavailable() -> str | None:
    """Return why functions can't be compiled here, or None."""
    try:
        from fastconv.backends import jit  # noqa: F401
    except Exception as error:  # Numba is missing, too old or broken
        return f"{type(error).__name__}: {error}"
    return None


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
