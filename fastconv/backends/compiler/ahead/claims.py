"""A process claims a kernel while it compiles it: then others that need the same one wait for the code on disk.

A claim is a lock on a file beside the code's, which the system frees when the process ends. Where there are no such
locks, as on Windows and on some network drives, several processes may compile the same kernel.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastconv.backends.compiler.store import UNFINISHED

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

_LOOKS_EVERY = 0.003
"""Seconds between two looks at another process's claim."""


@contextmanager
def claim(folder: Path | None, name: str, patience: float) -> Iterator[bool]:
    """Claim the file of a name in a folder for the length of the block, and give False if another process has it.

    Args:
        folder: None, or a folder that can't be written, can't be shared, and gives True.
        name: the file's name.
        patience: seconds to wait for the other process.
    """
    if folder is None or fcntl is None:
        yield True
        return
    place = folder / f"{name}{UNFINISHED}"
    try:
        file = place.open("ab")
    except OSError:
        yield True
        return
    with file:
        had = _lock(file.fileno(), patience)
        yield had
        if had:
            with suppress(OSError):
                place.unlink()


def _lock(file: int, patience: float) -> bool:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_LOOKS_EVERY)
        except OSError:
            return True
        else:
            return True
