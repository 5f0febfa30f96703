"""These are the Numba types of a vector register and of `Simd`, a compile-time constant that every operation takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import models, register_model

from fastconv.backends.numba_cpu.simd.compile_time import register_constant
from fastconv.backends.numba_cpu.simd.instruction_set import InstructionSet

I32, I64 = ir.IntType(32), ir.IntType(64)


FLOATS = {"float32": ir.FloatType(), "float64": ir.DoubleType(), "int32": I32, "int64": I64}


@dataclass(frozen=True)
class Simd:
    """A `Simd` describes a kernel's vectors: their instruction set and the type of an element, such as "float32"."""

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


class SimdType(types.Type):
    """This is the Numba type of a `Simd`; each `Simd` has a type of its own, so it is known at compile time."""

    def __init__(self, simd: Simd) -> None:
        self.simd = simd
        self.scalar = getattr(types, simd.dtype)
        super().__init__(name=f"Simd({simd.instructions.name}, {simd.dtype})")


class VectorType(types.Type):
    """This is the Numba type of a vector register with ``lanes`` elements, or of a mask if ``dtype`` is "mask"."""

    def __init__(self, dtype: str, lanes: int) -> None:
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"Vector({dtype} x {lanes})")

    @property
    def llvm(self) -> ir.VectorType:
        """Return the LLVM type of the register."""
        return ir.VectorType(ir.IntType(1) if self.dtype == "mask" else FLOATS[self.dtype], self.lanes)


register_constant(Simd, SimdType, ("lanes", "itemsize"))


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: VectorType) -> None:
        super().__init__(manager, kind, kind.llvm)


def vector_of(simd: SimdType) -> VectorType:
    """Return the type of a vector of numbers."""
    return VectorType(simd.simd.dtype, simd.simd.lanes)


def mask_of(simd: SimdType) -> VectorType:
    """Return the type of a mask: a vector of truth values."""
    return VectorType("mask", simd.simd.lanes)
