"""Which vector instructions the kernels are written for: one row a family of processors.

A row is all that a kernel needs to know: the bytes of a vector register, how many registers there are, and whether
masked loads and fused multiply-adds are instructions. Kernels are made anew for each row, so any row can be forced on
any processor (LLVM then spells out what the processor lacks): ``FASTCONV_INSTRUCTION_SET=avx2``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import llvmlite.binding as llvm
import numba

VARIABLE = "FASTCONV_INSTRUCTION_SET"


@dataclass(frozen=True)
class InstructionSet:
    """A family of vector instructions."""

    name: str
    vector_bytes: int
    registers: int


AVX512 = InstructionSet("avx512", 64, 32)
AVX2 = InstructionSet("avx2", 32, 16)
NEON = InstructionSet("neon", 16, 32)
PORTABLE = InstructionSet("portable", 16, 16)
"""Where nothing better is known: 128-bit vectors, which LLVM makes of whatever there is."""

ALL = {row.name: row for row in (AVX512, AVX2, NEON, PORTABLE)}


def best(features: dict[str, bool]) -> InstructionSet:
    """The widest one among a processor's ``features``, named as LLVM names them."""
    # On AVX-512 without VL (Knights Landing) masks on narrow vectors don't exist, and nobody has tried.
    if features.get("avx512f") and features.get("avx512vl"):
        return AVX512
    if features.get("avx2") and features.get("fma"):
        return AVX2
    if features.get("neon"):
        return NEON
    return PORTABLE


def chosen() -> InstructionSet:
    """The one that the environment forces, else the best that Numba compiles for.

    ``NUMBA_CPU_FEATURES``, and ``NUMBA_CPU_NAME=generic``, keep Numba from using all that the processor has.

    Raises:
        ValueError: the environment names none; the message lists those there are.
    """
    forced = os.environ.get(VARIABLE)
    if not forced:
        named = numba.config.CPU_FEATURES
        if named is None:
            return best(llvm.get_host_cpu_features())
        return best({feature[1:]: feature[0] == "+" for feature in named.split(",") if feature})
    if forced not in ALL:
        raise ValueError(f"the environment's {VARIABLE} is {forced!r}, but it must be one of {', '.join(ALL)}")
    return ALL[forced]
