"""Kernels are compiled for a processor, and their object code becomes part of this process by LLVM's linker.

The processor is this machine's, or the one that ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` name, as for Numba's own
functions.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from fastconv.backends.compiler.locks import undisturbed


def architecture() -> str:
    """Return the architecture that code is compiled for: "x86-64", "arm64", or what the system calls another one."""
    name = platform.machine().lower()
    return {"amd64": "x86-64", "x86_64": "x86-64", "aarch64": "arm64"}.get(name, name)


def features() -> dict[str, bool]:
    """Return the features that the processor has or lacks, under LLVM's names."""
    named = os.environ.get("NUMBA_CPU_FEATURES")
    if named is None and os.environ.get("NUMBA_CPU_NAME") == "generic":
        named = ""
    if named is None:
        # LLVM's lock is taken by a function of Python's, and an interrupt inside that one would leave it taken.
        found = undisturbed(lambda: dict(llvm.get_host_cpu_features()))
    else:
        found = {feature[1:]: feature[0] == "+" for feature in named.split(",") if feature}
    # Every arm64 has these, also where LLVM finds nothing, as under QEMU.
    return {"fp-armv8": True, "neon": True} | found if architecture() == "arm64" else found


_V3 = "avx avx2 bmi bmi2 f16c fma lzcnt movbe xsave"
LEVELS = {"x86-64-v4": f"{_V3} avx512f avx512bw avx512cd avx512dq avx512vl".split(), "x86-64-v3": _V3.split()}
"""The levels of x86-64 that bundles are made for, best first, and what a processor of each has beyond the first level,
under LLVM's names (System V ABI, AMD64 supplement)."""


@cache
def levels() -> tuple[str, ...]:
    """Return the levels whose code runs on this processor, best first."""
    there = features()
    return tuple(level for level, needed in LEVELS.items() if all(there.get(name) for name in needed))


@cache
def processor() -> str:
    """Return a text that differs between processors, and versions of LLVM, that code is compiled differently for."""

    def text() -> str:
        name = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
        has = ",".join(sorted(name for name, there in features().items() if there))
        return f"{llvm.get_default_triple()} {name} {has} LLVM {llvm.llvm_version_info}"

    return undisturbed(text)


@cache
def _engine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


def load(code: bytes, name: str) -> int:
    """Return the address of a function of some object code, which stays until the process ends."""
    engine = _engine()
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return int(engine.get_function_address(name))
