"""Memory for results and workspaces that needn't be faulted in anew at each call.

The system hands out large pieces of memory page by page, zeroing each 4 KiB at its first touch, and takes them back
when they are freed: for a result of 10 MB that costs more than computing it. So large pieces go back to a small store
when nobody refers to them any more, and the next result of about that size takes them from there.

A piece belongs to its array, through NumPy's array interface, and comes back only when the array and all its views, and
all tensors made of them, are gone: nothing that is in use is ever handed out again.
"""

from __future__ import annotations

import math
import os
import threading
from typing import Any

import numpy as np

SMALLEST = 1 << 18
"""Bytes; below it the allocator's own store does well enough."""

_PAGE = 4096


def _most_kept() -> int:
    """1 GiB, or an eighth of the machine's memory where that is less."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = 8 << 30
    return min(1 << 30, memory // 8)


class Store:
    """Pieces of memory that nobody uses, the latest freed last."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept = 0
        self._pieces: list[np.ndarray] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> np.ndarray:
        """At least ``size`` bytes from the start of a page on, and at most a quarter more."""
        with self._lock:
            for place in range(len(self._pieces) - 1, -1, -1):
                if size <= self._pieces[place].nbytes <= size + size // 4:
                    piece = self._pieces.pop(place)
                    self.kept -= piece.nbytes
                    return piece
        piece = np.empty(size + _PAGE, np.uint8)
        return piece[-piece.ctypes.data % _PAGE :]

    def give(self, piece: np.ndarray) -> None:
        """Keep a piece for later; the oldest go where there are too many."""
        # Called when an array dies, which may be anywhere, inside `take` too: then the piece is just freed.
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._pieces.append(piece)
            self.kept += piece.nbytes
            while self.kept > self.most:
                self.kept -= self._pieces.pop(0).nbytes
        finally:
            self._lock.release()


_store = Store(_most_kept())


class _Loan:
    """Owns a piece on behalf of the array that is made of it."""

    __slots__ = ("__array_interface__", "_piece")

    def __init__(self, piece: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._piece = piece
        self.__array_interface__ = {
            "shape": shape,
            "typestr": dtype.str,
            "data": (piece.ctypes.data, False),
            "version": 3,
        }

    def __del__(self) -> None:
        _store.give(self._piece)


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """As `numpy.empty`: a C-contiguous array that nobody else refers to, its content undefined."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size < SMALLEST:
        return np.empty(shape, kind)
    return np.asarray(_Loan(_store.take(size), shape, kind))


def scratch(size: int) -> np.ndarray:
    """``size`` bytes or more for as long as a call takes; give them back with `give_back`."""
    return _store.take(max(size, SMALLEST))


def give_back(memory: np.ndarray) -> None:
    """Take back what `scratch` gave."""
    _store.give(memory)


def _renew() -> None:
    """In a process that was forked off: another thread may have held the lock."""
    _store._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
