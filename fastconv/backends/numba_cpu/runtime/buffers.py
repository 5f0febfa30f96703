"""This file keeps memory for results and workspaces, so that calls don't wait for new pages from the system.

The system hands out large pieces of memory page by page, zeroing each 4 KiB at its first touch, and takes them back
when they are freed: for a result of 10 MB that costs more than computing it. So a large piece goes back to a small
store when no array refers to it any more, and the next result of about that size takes it from there.

A piece belongs to its array, through NumPy's array interface, and comes back only when the array and all its views, and
all tensors made of them, are gone: memory that is in use is never handed out again.
"""

from __future__ import annotations

import math
import os
from types import SimpleNamespace
from typing import Any

import numpy as np

SMALLEST = 1 << 18
"""Size of the smallest piece that is kept, in bytes; for smaller ones the allocator's own store is fast enough."""

_SMALL = 1 << 16
"""Size in bytes below which a call's memory comes from the allocator: in 0.2 us, from the store in 0.9. The allocator
returns larger pieces to the system at once."""

_LINE = 64
"""Size of a cache line, in bytes."""

_PAGE = 4096
"""Size of a page of memory, in bytes."""

_MOST_PIECES = 512
"""Most pieces in the store: a search through them all takes 15 us, less than writing a piece of the smallest size."""


def _most_kept() -> int:
    """Return the size limit of the store, in bytes: 1 GiB, or an eighth of the machine's memory where that is less."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = 8 << 30
    return min(1 << 30, memory // 8)


class Store:
    """Holds pieces of memory that are not in use, in the order in which they were freed.

    There is no lock, because a signal handler that raises could leave it taken. A single operation of a dictionary,
    which Python does as a whole, takes a piece out or puts it in, and the bytes are counted anew each time.
    """

    def __init__(self, most: int) -> None:
        self.most, self.most_pieces = most, _MOST_PIECES
        self._pieces: dict[int, np.ndarray] = {}

    @property
    def kept(self) -> int:
        """Return the size of all pieces, in bytes."""
        return sum([piece.nbytes for piece in tuple(self._pieces.values())])

    def take(self, size: int) -> np.ndarray:
        """Return memory of at least ``size`` bytes from a page's start on; a kept piece is at most a quarter larger."""
        for piece in reversed(tuple(self._pieces.values())):
            # Another thread may have taken the piece first, so `pop` decides.
            if size <= piece.nbytes <= size + size // 4 and self._pieces.pop(id(piece), None) is not None:
                return piece
        piece = np.empty(size + _PAGE, np.uint8)
        return piece[-piece.ctypes.data % _PAGE :]

    def give(self, piece: np.ndarray) -> None:
        """Keep a piece for later, and drop the oldest ones where the store exceeds a limit."""
        self._pieces[id(piece)] = piece
        for oldest in tuple(self._pieces):
            if len(self._pieces) <= self.most_pieces and self.kept <= self.most:
                return
            self._pieces.pop(oldest, None)


_store = Store(_most_kept())


class _Loan(SimpleNamespace):
    """Owns a piece for the array that is made of it, and gives it back to the store when the array is gone.

    Its attributes are set by a constructor in C, so it is complete as soon as it exists: no signal handler can run in
    between. Its destructor needs no global name, which may be gone at the interpreter's end.
    """

    def __del__(self) -> None:
        self.store.give(self.piece)


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return a new C-contiguous array with undefined content, as `numpy.empty` does."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size < SMALLEST:
        return np.empty(shape, kind)
    store = _store
    piece = store.take(size)
    interface = {"shape": shape, "typestr": kind.str, "data": (piece.ctypes.data, False), "version": 3}
    return np.asarray(_Loan(store=store, piece=piece, __array_interface__=interface))


def scratch(size: int) -> np.ndarray:
    """Return memory of ``size`` bytes or more for the time of a call; `give_back` must get it afterwards.

    The ``size`` bytes begin at its first address that is a multiple of 64.
    """
    return np.empty(size + _LINE, np.uint8) if size < _SMALL else _store.take(max(size, SMALLEST))


def give_back(memory: np.ndarray) -> None:
    """Keep the memory that `scratch` returned for later calls."""
    if memory.nbytes >= SMALLEST:
        _store.give(memory)
