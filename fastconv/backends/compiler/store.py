"""Object code is kept on disk, one file a kernel, each with a checksum, or comes with the package, as a bundle.

A folder that can't be written or read costs time, never an error, and a file that doesn't fit its checksum counts as
none: damaged code must not run, nor must LLVM read it, which ends the process. Files are replaced whole, so processes
may share a folder.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import os
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import cache
from importlib.resources.abc import Traversable
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from fastconv.user_folder import cache_folder

_ABANDONED = 3600
"""Seconds after which no process writes to an unfinished file any more: to write one takes milliseconds."""

UNFINISHED = ".unfinished"
"""End of the names of files that a process is working on."""


def folders(package: Path) -> tuple[Path, ...]:
    """Return the folders that may hold the code of a package in the folder ``package``.

    They are the one that the environment's NUMBA_CACHE_DIR names, or else `__pycache__` in the package's folder and the
    user's cache folder.
    """
    own = os.environ.get("NUMBA_CACHE_DIR")
    return (Path(own),) if own else (package / "__pycache__", cache_folder())


@cache
def writable(places: tuple[Path, ...]) -> Path | None:
    """Return the first of some folders that can be written to, or None."""
    for found in places:
        with suppress(OSError):
            found.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=found):
                return found
    return None


def read(places: tuple[Path, ...], name: str) -> bytes | None:
    """Return the code in the first file of a name that fits its checksum, or None."""
    for place in places:
        with suppress(OSError):
            content = (place / name).read_bytes()
            check, code = content[:32], content[32:]
            if hashlib.sha256(code).digest() == check:
                return code
    return None


def bundle(package: Path, level: str) -> Path:
    """Return the place of the bundle for this system and processors of a level (processor.py), in a package's folder.

    Code is for one system: others call functions in another way, or have other libraries.
    """
    return package / "bundled" / f"{sys.platform}-{level}.zip"


def read_bundled(package: Path, levels: tuple[str, ...], entry: str) -> bytes | None:
    """Return the code under a name in the first of the levels' bundles that has it, or None."""
    for level in levels:
        with suppress(OSError, KeyError, BadZipFile), ZipFile(bundle(package, level)) as found:
            return found.read(entry)
    return None


def holds_any(package: Path, levels: tuple[str, ...], prefix: str) -> bool:
    """Return True if one of the levels' bundles has names that begin with ``prefix``."""
    for level in levels:
        with suppress(OSError, BadZipFile), ZipFile(bundle(package, level)) as found:
            if any(name.startswith(prefix) for name in found.namelist()):
                return True
    return False


def keep(folder: Path, name: str, code: bytes) -> None:
    """Write code to a file in a folder; a full disk costs the next process some time, no more."""
    aside = folder / f"{name}.{os.getpid()}.{threading.get_ident()}{UNFINISHED}"
    try:
        with aside.open("xb") as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(aside, folder / name)
    except OSError:
        with suppress(OSError):
            aside.unlink()


def tidy(kept: Path, pattern: str, current: str) -> None:
    """Remove files like ``pattern`` that don't begin with ``current``, and what killed processes left unfinished."""
    with suppress(OSError):
        for old in kept.glob(pattern):
            if not old.name.startswith(current):
                old.unlink(missing_ok=True)
        for unfinished in kept.glob(f"*{UNFINISHED}"):
            if time.time() - unfinished.stat().st_mtime > _ABANDONED:
                unfinished.unlink(missing_ok=True)


@cache
def package_stamp(package: str) -> str | None:
    """Return a hash of a package's sources and of those below it, or None where they can't be read."""
    return sources_stamp(importlib.resources.files(package), deep=True)


def sources_stamp(folder: Traversable, deep: bool) -> str | None:
    """Return a hash of the sources in a folder, which may lie in a zip file, and with ``deep`` in those below it."""
    found = hashlib.sha256()
    any_source = False
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".py"):
            content = entry.read_bytes()
        elif deep and entry.is_dir() and entry.name != "__pycache__":
            content = (sources_stamp(entry, deep) or "").encode()
        else:
            continue
        found.update(hashlib.sha256(entry.name.encode() + b"/" + content).digest())
        any_source = any_source or bool(content)
    return found.hexdigest() if any_source else None
