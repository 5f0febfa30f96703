"""Errors of the GPU's driver become exceptions that say what was being done and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastconv.errors import DeviceError, DeviceMemoryError


@contextmanager
def translated(doing: str, size: int = 0) -> Iterator[None]:
    """Turns errors of the CUDA packages into a DeviceError; ``size`` is the number of bytes asked for, if any."""
    try:
        yield
    except Exception as error:
        if not _is_cuda(error):
            raise
        if "OUT_OF_MEMORY" in str(error).upper().replace(" ", "_"):
            raise DeviceMemoryError(doing, size) from error
        raise DeviceError(f"backend 'cuda', {doing}: {error}") from error


def _is_cuda(error: Exception) -> bool:
    return type(error).__module__.startswith(("numba.cuda", "numba_cuda", "cuda."))
