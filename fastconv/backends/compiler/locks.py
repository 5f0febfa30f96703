"""One lock is taken by all who compile or load code, and no signal or fork leaves it taken."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from fastconv.shield import shielded

T = TypeVar("T")

compiling = threading.RLock()
"""The lock. Who takes Numba's lock too takes this one first."""

_in_order: list[Any] = [compiling]


def also_hold(lock: Any) -> None:
    """Hold another lock too while a process forks, taken after those that were named before."""
    _in_order.append(lock)


_at_work = 0
"""Identifier of the thread that does the work of `undisturbed`, or 0."""


def undisturbed(work: Callable[[], T]) -> T:
    """Return ``work()``, done with the lock taken, where no signal can interrupt it."""

    def locked() -> T:
        global _at_work
        with compiling:
            _at_work = threading.get_ident()
            try:
                return work()
            finally:
                _at_work = 0

    # A thread that is at work has the lock, which another thread would wait for.
    return work() if threading.get_ident() == _at_work else shielded(locked)


def import_error(module: str) -> str | None:
    """Return why a module can't be imported, or None; no signal interrupts the import, which may be that of Numba."""

    def imported() -> str | None:
        try:
            importlib.import_module(module)
        except Exception as error:  # a package that it needs is missing, too old or broken
            return f"{type(error).__name__}: {error}"
        return None

    return undisturbed(imported)


def _take_all() -> None:
    for lock in _in_order:
        lock.acquire()


def _free_all() -> None:
    for lock in reversed(_in_order):
        lock.release()


if hasattr(os, "register_at_fork"):
    # A child has no other threads: it must not begin its life while one of them is in the compiler.
    os.register_at_fork(before=_take_all, after_in_parent=_free_all, after_in_child=_free_all)
