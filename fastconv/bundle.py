"""A bundle holds the object code of common kernels, for processors of one level of x86-64, and comes with the package.

Where there is one, a first call compiles nothing, and needs no Numba, unless a layer takes a kernel that isn't common.
The levels' code is compiled in processes of their own, from the same sources, on a processor that has the level.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from fastconv.backends.compiler import kernels, store
from fastconv.backends.compiler.processor import LEVELS, levels

_PACKAGE = "fastconv.backends.numba_cpu"


def make_bundles() -> None:
    """Make the bundle of each level that this processor has, in the installed package, and print how large it is."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        print(f"compiling for {' and '.join(levels())} ...", flush=True)
        running = [_compile(level, Path(folder) / level) for level in levels()]
        ended = [process.wait() for process in running]
        if any(ended):
            raise SystemExit("a level's kernels could not be compiled")
        for level in levels():
            number, size = _pack(level, Path(folder) / level)
            print(f"{level}: {number} kernels, {size / 1e6:.1f} MB")
    print(f"{time.perf_counter() - start:.0f} s")


def _compile(level: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that compiles a level's kernels into a folder."""
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(folder),
        "NUMBA_CPU_NAME": level,
        "NUMBA_CPU_FEATURES": ",".join(f"+{name}" for name in LEVELS[level]),
    }
    environment.pop("FASTCONV_INSTRUCTION_SET", None)
    command = [sys.executable, "-m", "fastconv", "warmup", "--backend", "numba"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def _pack(level: str, folder: Path) -> tuple[int, int]:
    """Pack the code in a folder; return the number of kernels and the bundle's size in bytes."""
    place = store.bundle(Path(kernels.__file__).parent.parent / "numba_cpu", level)
    place.parent.mkdir(exist_ok=True)
    aside = place.with_suffix(".unfinished")
    files = sorted(folder.glob("*.o"))
    with ZipFile(aside, "w", ZIP_DEFLATED) as packed:
        for file in files:
            code = store.read((folder,), file.name)
            name = file.name.split(".", 2)[2]
            if code is not None:
                packed.writestr(f"{kernels.sources(_PACKAGE)}.{name}", code)
    os.replace(aside, place)
    return len(files), place.stat().st_size
