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
from types import SimpleNamespace
from typing import Any

import numpy as np

SMALLEST = 1 << 18
"""Bytes; below it the allocator's own store does well enough."""

_PAGE = 4096

_MOST_PIECES = 512
"""To look through them all takes 15 us, less than to write a piece of the smallest size once."""


def _most_kept() -> int:
    """1 GiB, or an eighth of the machine's memory where that is less."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = 8 << 30
    return min(1 << 30, memory // 8)


class Store:
    """Pieces of memory that nobody uses, the latest freed last.

    There is no lock, which a signal handler that raises could leave taken: one operation of a dictionary, which
    Python does as a whole, takes a piece out or puts it in, and what is kept is counted anew each time.
    """

    def __init__(self, most: int) -> None:
        self.most, self.most_pieces = most, _MOST_PIECES
        self._pieces: dict[int, np.ndarray] = {}

    @property
    def kept(self) -> int:
        """The bytes of all pieces."""
        return sum([piece.nbytes for piece in tuple(self._pieces.values())])

    def take(self, size: int) -> np.ndarray:
        """At least ``size`` bytes from the start of a page on, and at most a quarter more."""
        for piece in reversed(tuple(self._pieces.values())):
            # Another thread may have been faster.
            if size <= piece.nbytes <= size + size // 4 and self._pieces.pop(id(piece), None) is not None:
                return piece
        piece = np.empty(size + _PAGE, np.uint8)
        return piece[-piece.ctypes.data % _PAGE :]

    def give(self, piece: np.ndarray) -> None:
        """Keep a piece for later; the oldest go where there are too many."""
        self._pieces[id(piece)] = piece
        for oldest in tuple(self._pieces):
            if len(self._pieces) <= self.most_pieces and self.kept <= self.most:
                return
            self._pieces.pop(oldest, None)


_store = Store(_most_kept())


class _Loan(SimpleNamespace):
    """Owns a piece on behalf of the array that is made of it.

    It is complete as soon as it exists, since its attributes come from a constructor in C: no signal handler gets in
    between. When it dies it needs no global name, which the interpreter's end may have taken away.
    """

    def __del__(self) -> None:
        self.store.give(self.piece)


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """As `numpy.empty`: a C-contiguous array that nobody else refers to, its content undefined."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size < SMALLEST:
        return np.empty(shape, kind)
    store = _store
    piece = store.take(size)
    interface = {"shape": shape, "typestr": kind.str, "data": (piece.ctypes.data, False), "version": 3}
    return np.asarray(_Loan(store=store, piece=piece, __array_interface__=interface))


def scratch(size: int) -> np.ndarray:
    """``size`` bytes or more for as long as a call takes; give them back with `give_back`."""
    return _store.take(max(size, SMALLEST))


def give_back(memory: np.ndarray) -> None:
    """Take back what `scratch` gave."""
    _store.give(memory)
