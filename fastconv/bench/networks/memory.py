"""How much memory a contestant takes: its process's peak during a call, above what it was before the network."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Meter:
    """Begins at `begin`, and measures a call; on Linux only."""

    def __init__(self) -> None:
        self._before: int | None = None

    def begin(self) -> None:
        """What the process holds now isn't the network's."""
        _give_back()
        self._before = _bytes("VmRSS")

    def peak(self, call: Callable[[], object]) -> int | None:
        """The most bytes above those at `begin` while ``call`` runs; None where the system doesn't tell."""
        _give_back()
        try:
            _RESET.write_text("5")  # the peak begins anew
        except OSError:
            return None
        call()
        peak = _bytes("VmHWM")
        return None if peak is None or self._before is None else max(0, peak - self._before)


def _give_back() -> None:
    """Return freed memory to the system: glibc keeps that of exporters or of packed weights, say, and counts it."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _bytes(entry: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{entry}:")), None)
