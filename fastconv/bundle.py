"""A bundle holds the object code of common kernels, for the processors of one level, and comes with the package.

Where there is one, a first call compiles nothing, and needs no Numba, unless a layer takes a kernel that isn't common.
Each level's code is compiled in a process of its own, from the same sources, on any processor: the process lists the
kernels that `warmup` asks for, and runs none. The levels are those of x86-64 and arm64, for the system that this is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from zipfile import ZIP_DEFLATED, ZipFile

from fastconv import registry
from fastconv.backends.compiler import kernels, processor, store

_PACKAGE = "fastconv.backends.numba_cpu"


def make_bundles() -> None:
    """Make the bundle of each level, in the installed package, and print how large it is."""
    start = time.perf_counter()
    print(f"compiling for {', '.join(processor.LEVELS)} ...", flush=True)
    program = "from fastconv.bundle import make_bundle; make_bundle({!r})"
    running = [subprocess.Popen([sys.executable, "-c", program.format(level)]) for level in processor.LEVELS]
    ended = [process.wait() for process in running]
    if any(ended):
        raise SystemExit("a level's kernels could not be compiled")
    print(f"{time.perf_counter() - start:.0f} s")


def make_bundle(level: str) -> None:
    """Make the bundle of one level; no kernel may have been asked for before, and none can run afterwards."""
    place = store.bundle(kernels.folder_of(_PACKAGE), level)
    place.parent.mkdir(exist_ok=True)
    aside = place.with_suffix(store.UNFINISHED)
    codes = common_kernels(level)
    with ZipFile(aside, "w", ZIP_DEFLATED) as packed:
        for code in codes:
            packed.writestr(code.bundled, code.emit())
    os.replace(aside, place)
    print(f"{level}: {len(codes)} kernels, {place.stat().st_size / 1e6:.1f} MB", flush=True)


def common_kernels(level: str) -> list[kernels.Code]:
    """Return the kernels of a level's bundle."""
    os.environ.pop("FASTCONV_INSTRUCTION_SET", None)
    processor.compile_for(level)
    with kernels.listing() as found:
        registry.get("numba").warmup()
    return sorted({code.bundled: code for code in found}.values(), key=lambda code: code.name)
