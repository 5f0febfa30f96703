"""torch's own threads, lent to fastconv's kernels.

torch's operations leave their OpenMP threads spinning for some milliseconds. A second pool of threads beside them has
to take the cores from them each time, which makes a converted network slower than its layers are.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import torch

from fastconv import threads


def lend() -> None:
    """Make the OpenMP team of torch, where its wheel brings libgomp along, known to fastconv's backends."""
    for library in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*")):
        try:
            # Loaded by torch already: a second copy would have a team of its own.
            loaded = ctypes.CDLL(str(library), mode=os.RTLD_NOLOAD | os.RTLD_LOCAL)
            names = loaded.GOMP_parallel, loaded.omp_get_max_threads, loaded.omp_get_wtime, loaded.omp_get_thread_num
        except (AttributeError, OSError):
            continue
        threads.host_team = threads.HostTeam(*[ctypes.cast(name, ctypes.c_void_p).value or 0 for name in names])
        return
