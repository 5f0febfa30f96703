"""This module lists the vector instruction sets that kernels are compiled for: one row for a family of processors.

A row gives a kernel the bytes of a vector register and the number of registers. Kernels are compiled separately for
each row, so any row can be forced on any processor (LLVM then emulates what the processor lacks):
``FASTCONV_INSTRUCTION_SET=avx2``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from fastconv.backends.compiler.processor import features

VARIABLE = "FASTCONV_INSTRUCTION_SET"
"""The environment variable that forces an instruction set, by its name."""


@dataclass(frozen=True)
class InstructionSet:
    """An `InstructionSet` has a name, vector registers of ``vector_bytes`` bytes, and ``registers`` of them."""

    name: str
    vector_bytes: int
    registers: int


AVX512 = InstructionSet("avx512", 64, 32)
AVX2 = InstructionSet("avx2", 32, 16)
NEON = InstructionSet("neon", 16, 32)
PORTABLE = InstructionSet("portable", 16, 16)
"""The default for all other processors: 128-bit vectors, which LLVM translates to what the processor has."""

ALL = {row.name: row for row in (AVX512, AVX2, NEON, PORTABLE)}


def best(there: dict[str, bool]) -> InstructionSet:
    """Return the widest instruction set of a processor, from the features that are ``there``, under LLVM's names."""
    # AVX-512 without VL (Knights Landing) has no masks for narrow vectors, and the kernels were never tested there.
    if there.get("avx512f") and there.get("avx512vl"):
        return AVX512
    if there.get("avx2") and there.get("fma"):
        return AVX2
    if there.get("neon"):
        return NEON
    return PORTABLE


def chosen() -> InstructionSet:
    """Return the instruction set that the environment forces, else the best one that Numba compiles for.

    With ``NUMBA_CPU_FEATURES``, or ``NUMBA_CPU_NAME=generic``, Numba uses only a part of what the processor has.

    Raises:
        ValueError: the environment names an unknown instruction set; the message lists the known ones.
    """
    forced = os.environ.get(VARIABLE)
    if not forced:
        return best(features())
    if forced not in ALL:
        raise ValueError(f"the environment's {VARIABLE} is {forced!r}, but it must be one of {', '.join(ALL)}")
    return ALL[forced]
