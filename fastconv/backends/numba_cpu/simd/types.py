"""A `Simd` is a compile-time constant that every operation takes; kernels may be made for others like it.

What Numba has to know of them is in numba_types.py, which is loaded when something has to be compiled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from llvmlite import ir

from fastconv.backends.compiler.deferred import needs
from fastconv.backends.numba_cpu.simd.instruction_set import InstructionSet

needs("fastconv.backends.numba_cpu.simd.numba_types")

I32, I64 = ir.IntType(32), ir.IntType(64)


FLOATS = {"float32": ir.FloatType(), "float64": ir.DoubleType(), "int32": I32, "int64": I64}


@dataclass(frozen=True)
class Simd:
    """A `Simd` describes a kernel's vectors: their instruction set and the type of an element, such as "float32"."""

    in_kernels: ClassVar[tuple[str, ...]] = ("lanes", "itemsize")
    """Names of the attributes that kernels may read; each is an integer."""

    instructions: InstructionSet
    dtype: str
    itemsize: int = field(init=False, compare=False, repr=False)
    """Size of an element, in bytes."""
    lanes: int = field(init=False, compare=False, repr=False)
    """Number of elements in a vector."""

    def __post_init__(self) -> None:
        # Computed once: a search for a tiling reads them a thousand times.
        object.__setattr__(self, "itemsize", np.dtype(self.dtype).itemsize)
        object.__setattr__(self, "lanes", self.instructions.vector_bytes // self.itemsize)

    def __hash__(self) -> int:
        # Each call looks up a plan by it. A hash of all fields takes 300 ns, and at most four such objects exist.
        return hash(self.dtype)
