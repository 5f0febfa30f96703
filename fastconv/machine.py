"""Facts on the machine and the packages that a result or a bug report needs."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from fastconv import threads
from fastconv._version import __version__

_PACKAGES = ("numpy", "numba", "llvmlite", "torch", "numba-cuda")
_FORCING = ("FASTCONV_INSTRUCTION_SET", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
_THREADING_LAYERS = {"tbb": "tbbpool", "omp": "omppool", "workqueue": "workqueue"}


def describe() -> dict[str, str]:
    """Returns the facts, each with its name, for people to read."""
    return {
        "fastconv": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "packages": ", ".join(f"{package} {_version(package)}" for package in _PACKAGES),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor(),
        "instruction set": instruction_set(),
        "cores": f"{usable_cores()} usable of {os.cpu_count()}",
        "threads": f"{threads.get_num_threads()} for numba",
        "BLAS": blas(),
        "threading layers": ", ".join(threading_layers()) or "none",
        "GPU": gpu() or "none found",
    }


def processor() -> str:
    """Returns the processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def instruction_set() -> str:
    """Returns the processor's widest vector instructions, whether it has fused multiply-adds, and what is forced."""
    try:
        import llvmlite.binding as llvm
    except Exception as error:  # a broken installation may raise anything
        return f"unknown, since llvmlite can't be imported: {error}"

    features = llvm.get_host_cpu_features()
    widest = next((name for name in ("avx512f", "avx2", "avx", "sse2", "sve", "neon") if features.get(name)), "unknown")
    fused = " with fused multiply-add" if features.get("fma") or widest in ("neon", "sve") else ""
    forced = [f"{name}={os.environ[name]}" for name in _FORCING if os.environ.get(name)]
    note = f"; the environment forces {', '.join(forced)} on numba" if forced else ""
    return f"{widest}{fused} ({llvm.get_host_cpu_name()}){note}"


def usable_cores() -> int:
    """Returns the number of cores that this process may run on."""
    return len(threads.usable_cores())


def threading_layers() -> list[str]:
    """Returns Numba's threading layers that load on this machine, in the order in which Numba tries them."""
    return [name for name, module in _THREADING_LAYERS.items() if _loads(f"numba.np.ufunc.{module}")]


def gpu() -> str | None:
    """Returns the NVIDIA GPUs with memory and driver, or None where the driver's tool finds none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return "; ".join(answer.stdout.strip().splitlines()) or None


def blas() -> str:
    """Returns the library behind NumPy's matrix product."""
    config = np.show_config(mode="dicts")
    found = config.get("Build Dependencies", {}).get("blas", {}) if isinstance(config, dict) else {}
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _loads(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None and importlib.import_module(module) is not None
    except Exception:  # a broken installation may raise anything
        return False
