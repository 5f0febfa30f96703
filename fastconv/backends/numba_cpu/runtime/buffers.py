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
from contextlib import suppress
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

    A step of training takes some hundred pieces of the sizes that the step before gave back. So those of one size are
    found by their size, and the bytes are counted only where too many could be kept: of MobileNetV2's step, a search
    and a count for each piece took 3%.

    There is no lock, because a signal handler that raises could leave it taken. A single operation of a dictionary,
    which Python does as a whole, takes a piece out or puts it in. The rest may be out of date: numbers of pieces that
    are gone are passed over, and what one thread's count lacks is there in the next one.
    """

    def __init__(self, most: int) -> None:
        self.most, self.most_pieces = most, _MOST_PIECES
        self._pieces: dict[int, np.ndarray] = {}
        self._by_size: dict[int, list[int]] = {}
        self._at_most = 0
        """Upper bound of the bytes that are kept: the last count, and all that came back since then."""

    @property
    def kept(self) -> int:
        """Return the size of all pieces, in bytes."""
        return sum([piece.nbytes for piece in tuple(self._pieces.values())])

    def take(self, size: int) -> np.ndarray:
        """Return memory of at least ``size`` bytes from a page's start on; a kept piece is at most a quarter larger."""
        numbers = self._by_size.get(size)
        while numbers:
            try:
                piece = self._pieces.pop(numbers.pop(), None)
            except IndexError:  # another thread took the last one
                break
            if piece is not None:
                if piece.nbytes == size:
                    return piece
                self.give(piece)  # it has the number of one that is gone
        for piece in reversed(tuple(self._pieces.values())):
            # Another thread may have taken the piece first, so `pop` decides.
            number = id(piece)
            if size <= piece.nbytes <= size + size // 4 and self._pieces.pop(number, None) is not None:
                with suppress(KeyError, ValueError):
                    self._by_size[piece.nbytes].remove(number)
                return piece
        piece = np.empty(size + _PAGE, np.uint8)
        start = -piece.ctypes.data % _PAGE
        return piece[start : start + size]

    def give(self, piece: np.ndarray) -> None:
        """Keep a piece for later, and drop the oldest ones where the store exceeds a limit."""
        number, size = id(piece), piece.nbytes
        self._pieces[number] = piece
        self._by_size.setdefault(size, []).append(number)
        self._at_most += size
        few = len(self._pieces) <= self.most_pieces and len(self._by_size) <= 2 * self.most_pieces
        if few and self._at_most <= self.most:
            return
        for oldest in tuple(self._pieces):
            self._at_most = self.kept
            if len(self._pieces) <= self.most_pieces and self._at_most <= self.most:
                break
            self._pieces.pop(oldest, None)
        self._by_size = {}
        for each in tuple(self._pieces.values()):
            self._by_size.setdefault(each.nbytes, []).append(id(each))


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
