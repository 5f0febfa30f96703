"""One process at a time: a lock on an open file, which the system takes back however the process ends."""

from __future__ import annotations

import sys
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt

    _BEYOND = 1 << 62
    """A byte that no file reaches: locked bytes can't be read by others there."""

    def lock(file: BinaryIO) -> None:
        """Lock ``file`` until it is closed. Raises OSError where another process has."""
        position = file.tell()
        file.seek(_BEYOND)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(position)

else:
    import fcntl

    def lock(file: BinaryIO) -> None:
        """Lock ``file`` until it is closed. Raises BlockingIOError, an OSError, where another process has."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
