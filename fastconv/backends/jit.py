"""How the library compiles: Numba in nopython mode, without the interpreter lock, kept on disk where possible.

A cache that can't be written or read must cost time, never an error: with no writable folder a function is compiled
anew in each process, and a damaged entry is dropped and compiled again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numba
from numba.core.caching import FunctionCache


class _ForgivingCache(FunctionCache):
    """Numba's cache of compiled functions; whatever is wrong with an entry counts as a miss."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unpickling a damaged file may raise anything
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        # A full disk, or a folder that became read-only.
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


def jit(function: Callable[..., Any], **options: Any) -> Any:
    """``function`` compiled at its first call for the types it is called with; ``options`` are those of numba.njit."""
    dispatcher = numba.njit(nogil=True, **options)(function)
    # Numba raises RuntimeError where it finds no folder to write to.
    with contextlib.suppress(RuntimeError):
        dispatcher._cache = _ForgivingCache(function)
    return dispatcher
