"""Work that no signal interrupts runs in another thread: interrupted, it would leave a lock taken or a module half
imported.

Python runs signal handlers in the main thread, between any two instructions. A handler that raises (Ctrl-C,
a time limit) can thus end Numba's compiler between taking its lock and the ``try`` that gives it back. Other threads
are never interrupted, so the main thread lends such work to one and waits; the wait may be interrupted, the work not.
"""

from __future__ import annotations

import _thread
import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Work(Generic[T]):
    def __init__(self, function: Callable[[], T]) -> None:
        self.function = function
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self._busy = _thread.allocate_lock()
        self._busy.acquire()

    def run(self) -> None:
        global _latest
        _latest = self
        with _turn:
            try:
                self.result = self.function()
            except BaseException as error:  # raised again by the thread that waits
                self.error = error
        self.done = True
        self._busy.release()

    def wait(self) -> None:
        # An interrupt after the lock was taken does no harm: `done` was set before.
        if not self.done:
            self._busy.acquire()


_latest: _Work[Any] | None = None
"""The last work that was begun. After an interrupt it may still run, and the next call waits for its end."""

_turn = _thread.allocate_lock()
"""Works take turns. An interrupt may come before the new thread begins, and the next call then doesn't wait for it:
two threads that import the same modules would see each other's half made."""


def shielded(function: Callable[[], T]) -> T:
    """Return ``function()``, computed where no signal handler runs."""
    if threading.get_ident() != threading.main_thread().ident:
        return function()
    before = _latest
    if before is not None:
        before.wait()
    work = _Work(function)
    try:
        _thread.start_new_thread(work.run, ())
    except RuntimeError:  # no more threads, or the interpreter is about to end
        return function()
    work.wait()
    if work.error is not None:
        try:
            raise work.error
        finally:
            work.error = None  # the traceback refers to this frame
    result: T = work.result
    return result


def _renew() -> None:
    """Forget, in a forked process, the work of a thread that it doesn't have."""
    global _latest, _turn
    _latest, _turn = None, _thread.allocate_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
