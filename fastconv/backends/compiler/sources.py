"""Hashes of sources tell whether code was compiled from the sources that are there now."""

from __future__ import annotations

import hashlib
import importlib.resources
from functools import cache
from importlib.resources.abc import Traversable


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
