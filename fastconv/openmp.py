"""The cores that this process may use where an OpenMP runtime has bound its main thread to one of them.

With ``OMP_PROC_BIND`` or the like in the environment, a runtime that a library brings along (torch's libgomp does so
at ``import torch``) binds the thread that loads it, and threads that this one starts from then on inherit the single
core. The runtime has noted before which cores there were: they are its places.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from pathlib import Path

_BINDING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
"""Variables of the environment that make a runtime bind threads."""

_RUNTIME = re.compile(r"lib(gomp|i?omp5?)\b.*\.so")
"""The file names of GCC's, LLVM's and Intel's runtimes, as wheels rename them too: libgomp-24e2ab19.so.1.0.0."""


def cores_of_places() -> set[int]:
    """Return the cores in the places of all OpenMP runtimes in this process; there are none where nothing is bound."""
    cores: set[int] = set()
    if any(variable in os.environ for variable in _BINDING):
        for library in _loaded_runtimes():
            # Older runtimes lack these functions.
            with contextlib.suppress(AttributeError):
                for place in range(library.omp_get_num_places()):
                    found = (ctypes.c_int * library.omp_get_place_num_procs(place))()
                    library.omp_get_place_proc_ids(place, found)
                    cores.update(found)
    # A list in the environment may name cores that don't exist.
    return cores & set(range(os.cpu_count() or 1))


def _loaded_runtimes() -> list[ctypes.CDLL]:
    try:
        mapped = Path("/proc/self/maps").read_text()
    except OSError:  # a system that binds no threads either
        return []
    # The sixth column, where a mapping is of a file.
    paths = {line.split(maxsplit=5)[5] for line in mapped.splitlines() if line.count("/")}
    runtimes = []
    for path in sorted(paths):
        if _RUNTIME.match(Path(path).name):
            with contextlib.suppress(OSError):
                runtimes.append(ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LOCAL))
    return runtimes
