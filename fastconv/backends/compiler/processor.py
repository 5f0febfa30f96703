"""Kernels are compiled for a processor, and their object code becomes part of this process by LLVM's linker.

The processor is this machine's, or the one that ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` name, as for Numba's own
functions. A process that makes a bundle compiles for a level, of this machine's architecture or another, and runs none
of the code.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from fastconv.backends.compiler.locks import undisturbed


@dataclass(frozen=True)
class Level:
    """A `Level` describes the processors that a bundle's code runs on."""

    architecture: str
    cpu: str
    """LLVM's name of the processor that code is written for."""
    features: tuple[str, ...]
    """What every processor of the level has, under LLVM's names."""


_V3 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_ARM = ("fp-armv8", "neon")
LEVELS = {
    "x86-64-v4": Level("x86-64", "x86-64-v4", _V4),
    "x86-64-v3": Level("x86-64", "x86-64-v3", _V3),
    "armv8-a": Level("arm64", "generic", _ARM),
}
"""The levels that bundles are made for, best first. Those of x86-64 have what the first level has, too (System V ABI,
AMD64 supplement); every arm64 processor is of the last one."""

_target: Level | None = None
"""The level that this process compiles for, if not for a processor that runs the code."""


def compile_for(level: str) -> None:
    """Make code for a level from now on, in a process that has compiled nothing yet and runs no kernels."""
    global _target
    _target = LEVELS[level]


def architecture() -> str:
    """Return the architecture that code is compiled for: "x86-64", "arm64", or what the system calls another one."""
    if _target is not None:
        return _target.architecture
    name = platform.machine().lower()
    return {"amd64": "x86-64", "x86_64": "x86-64", "aarch64": "arm64"}.get(name, name)


def features() -> dict[str, bool]:
    """Return the features that the processor has or lacks, under LLVM's names."""
    if _target is not None:
        return dict.fromkeys(_target.features, True)
    named = os.environ.get("NUMBA_CPU_FEATURES")
    if named is None and os.environ.get("NUMBA_CPU_NAME") == "generic":
        named = ""
    if named is None:
        # LLVM's lock is taken by a function of Python's, and an interrupt inside that one would leave it taken.
        found = undisturbed(lambda: dict(llvm.get_host_cpu_features()))
    else:
        found = {feature[1:]: feature[0] == "+" for feature in named.split(",") if feature}
    # Every arm64 has these, also where LLVM finds nothing, as under QEMU.
    return dict.fromkeys(_ARM, True) | found if architecture() == "arm64" else found


@cache
def levels() -> tuple[str, ...]:
    """Return the levels whose code runs on this processor, best first."""
    there = features()
    return tuple(
        name
        for name, level in LEVELS.items()
        if level.architecture == architecture() and all(there.get(each) for each in level.features)
    )


@cache
def target_machine() -> Any:
    """Return what LLVM makes the code of `compile_for` with; None in a process that runs what it compiles."""
    if _target is None:
        return None
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    # The same system as this one: only the architecture is another.
    _, _, system = llvm.get_default_triple().partition("-")
    target = llvm.Target.from_triple(f"{'aarch64' if _target.architecture == 'arm64' else 'x86_64'}-{system}")
    return target.create_target_machine(
        cpu=_target.cpu,
        features=",".join(f"+{each}" for each in _target.features),
        # As Numba has it for code that this process runs.
        opt=3,
        reloc="static" if _target.architecture == "x86-64" else "default",
        codemodel="jitdefault",
        jit=True,
    )


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
