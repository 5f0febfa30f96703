"""Object code is kept on disk, one file a kernel, each with a checksum.

A folder that can't be written or read costs time, never an error, and a file that doesn't fit its checksum counts as
none: damaged code must not run, nor must LLVM read it, which ends the process. Files are replaced whole, so processes
may share a folder.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from fastconv.user_folder import cache_folder

_ABANDONED = 3600
"""Seconds after which no process writes to an unfinished file any more: to write one takes milliseconds."""

_UNFINISHED = ".unfinished"


@cache
def folder(beside: Path) -> Path | None:
    """Return the first of these folders that can be written to, or None.

    Numba's cache folder, if the environment names one; `__pycache__` in the folder ``beside``, where sources are; the
    user's cache folder.
    """
    own = os.environ.get("NUMBA_CACHE_DIR")
    for found in (Path(own),) if own else (beside / "__pycache__", cache_folder()):
        with suppress(OSError):
            found.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=found):
                return found
    return None


def read(file: Path) -> bytes | None:
    """Return the code in a file, or None if there is none that fits its checksum."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    check, code = content[:32], content[32:]
    return code if hashlib.sha256(code).digest() == check else None


def write(file: Path, code: bytes) -> None:
    """Keep code in a file, where it is possible; a full disk costs the next process some time, no more."""
    with (
        suppress(OSError),
        tempfile.NamedTemporaryFile(dir=file.parent, suffix=_UNFINISHED, delete=False) as aside,
    ):
        try:
            aside.write(hashlib.sha256(code).digest() + code)
            aside.close()
            os.replace(aside.name, file)
        except OSError:
            Path(aside.name).unlink(missing_ok=True)


def tidy(kept: Path, pattern: str, current: str) -> None:
    """Remove files like ``pattern`` that don't begin with ``current``, and what killed processes left unfinished."""
    with suppress(OSError):
        for old in kept.glob(pattern):
            if not old.name.startswith(current):
                old.unlink(missing_ok=True)
        for unfinished in kept.glob(f"*{_UNFINISHED}"):
            if time.time() - unfinished.stat().st_mtime > _ABANDONED:
                unfinished.unlink(missing_ok=True)
