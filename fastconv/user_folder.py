"""The folder for files that can be made again and that later processes read: machine code for GPUs, measured times."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Returns the folder ``fastconv`` in the user's cache folder, which ``XDG_CACHE_HOME`` moves; it may not exist yet.

    The rules are those of the desktop standard on Linux; on Windows the user's local application data are taken.
    """
    base = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    return Path(base or Path.home() / ".cache") / "fastconv"
