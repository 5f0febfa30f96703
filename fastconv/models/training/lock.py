"""A lock on an open file lets one process in at a time; the system takes it back however the process ends."""

from __future__ import annotations

import sys
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt

    _BEYOND = 1 << 62
    """The locked byte, which lies beyond any file's end: on Windows other processes can't read locked bytes."""

    def lock(file: BinaryIO) -> None:
        """Lock ``file`` until it is closed. Raises OSError if another process has locked it."""
        position = file.tell()
        file.seek(_BEYOND)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(position)

else:
    import fcntl

    def lock(file: BinaryIO) -> None:
        """Lock ``file`` until it is closed. Raises BlockingIOError, an OSError, where another process has."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
