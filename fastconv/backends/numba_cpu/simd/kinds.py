"""These functions return the Numba types of vectors, masks and arguments, for the signatures of intrinsics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastconv.backends.numba_cpu.simd.numba_types import SimdType, VectorType


def vector_of(simd: SimdType) -> VectorType:
    """Return Numba's type of a vector of numbers."""
    return vector_type(simd.simd.dtype, simd.simd.lanes)


def mask_of(simd: SimdType) -> VectorType:
    """Return Numba's type of a mask: a vector of truth values."""
    return vector_type("mask", simd.simd.lanes)


def vector_type(dtype: str, lanes: int) -> VectorType:
    """Return Numba's type of a vector register with ``lanes`` elements, or of a mask if ``dtype`` is "mask"."""
    from fastconv.backends.numba_cpu.simd.numba_types import VectorType

    return VectorType(dtype, lanes)


def argument_type(name: str, words: dict[str, int]) -> Any:
    """Return Numba's type of the address of a record of arguments, with the offset of each, in 64-bit words."""
    from fastconv.backends.numba_cpu.simd.numba_types import ArgumentsType

    return ArgumentsType(name, words)
