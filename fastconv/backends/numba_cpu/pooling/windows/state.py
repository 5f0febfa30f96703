"""A vector of windows holds in each lane the state of one window, merged from its pixels in row-major order.

The loops over images are written once; a `Windows` tells them at compile time which kind of pooling they do. The state
of a largest value or of a sum is a vector of numbers. If places are wanted too, it is a pair: the numbers, and the
place in the plane of each. A step merges the state of some pixels with that of later ones:

    values, places    the later one if it is NaN or above the earlier one: the first wins among equal ones, the
                      last among NaN
    averages          their sum

Pixels outside the image count as minus infinity, or 0 in averages, and are never loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llvmlite import ir

from fastconv.backends.compiler import cgutils, intrinsic, types
from fastconv.backends.numba_cpu.simd import (
    Simd,
    broadcast_value,
    vector_of,
    vector_type,
)

if TYPE_CHECKING:
    from fastconv.backends.numba_cpu.simd.numba_types import SimdType

_I32, _I64 = ir.IntType(32), ir.IntType(64)

VALUES, PLACES, AVERAGES = "values", "places", "averages"


@dataclass(frozen=True)
class Windows(Simd):
    """This compile-time constant describes a kind of pooling and its windows."""

    in_kernels: ClassVar[tuple[str, ...]] = (*Simd.in_kernels, "ahead", "sums", "step", "rows")

    kind: str
    columns: int
    """Columns of a window, side by side; 0 if the kernel gets them at run time."""

    step: int
    """Pixels from one window to the next in a row: 1 to 4, or 0 if the kernel gets them at run time."""

    rows: int = 0
    """Rows of each window, all in the image; 0 if the kernel gets them at run time. LLVM unrolls a loop of unknown
    length eight times, which costs 15 cycles for each row of windows that are two or three high."""

    @property
    def ahead(self) -> int:
        """Return the bytes that a vector of windows ``step`` apart both ways reads and no vector before it has read."""
        return 64 if self.step == 1 else 256

    @property
    def sums(self) -> bool:
        """Return True if states are sums."""
        return self.kind == AVERAGES

    @property
    def masked(self) -> bool:
        """Return True if masks cost loads and stores nothing, so that all have one; spaced masked loads are gathers."""
        return self.instructions.vector_bytes == 64 and self.step != 0


def place_type(w: SimdType) -> ir.IntType:
    """Return the integer type of places.

    It is as wide as the numbers, so that masks fit both; in float32 places wrap around at 2^32.
    """
    return ir.IntType(8 * w.simd.itemsize)


def state_of(w: Any) -> Any:
    """Return Numba's type of a state."""
    numbers = vector_of(w)
    if w.simd.kind != PLACES:
        return numbers
    return types.Tuple([numbers, vector_type(f"int{8 * w.simd.itemsize}", w.simd.lanes)])


def spread(builder: Any, w: Any, value: Any) -> Any:
    """Return a vector with a 64-bit integer as the place in every lane."""
    kind = place_type(w)
    return broadcast_value(builder, value if kind == _I64 else builder.trunc(value, kind), w.simd.lanes)


def ramp(w: Any, step: int = 1) -> Any:
    lanes = w.simd.lanes
    return ir.Constant(ir.VectorType(place_type(w), lanes), list(range(0, step * lanes, step)))


def unpack(builder: Any, w: Any, state: Any) -> list[Any]:
    """Return the parts of a state: numbers, and places if there are any."""
    return list(cgutils.unpack_tuple(builder, state, 2)) if w.simd.kind == PLACES else [state]


def pack(context: Any, builder: Any, w: Any, parts: Any) -> Any:
    """Return the state that has these parts."""
    return context.make_tuple(builder, state_of(w), parts) if w.simd.kind == PLACES else parts[0]


def widened(builder: Any, distance: Any) -> Any:
    """Return a distance between places, or a vector of distances, in 64 bits."""
    kind = distance.type
    wide = ir.VectorType(_I64, kind.count) if isinstance(kind, ir.VectorType) else _I64
    return distance if kind == wide else builder.zext(distance, wide)


def outside(w: Any) -> Any:
    """Return a vector of the number that stands for pixels outside the image."""
    kind = vector_of(w).llvm
    number = 0.0 if w.simd.kind == AVERAGES else float("-inf")
    return ir.Constant(kind, [ir.Constant(kind.element, number)] * kind.count)


def merged(builder: Any, w: Any, before: Any, after: Any) -> Any:
    """Return the merged parts of two states, those of ``before`` coming first."""
    if w.simd.kind == AVERAGES:
        return [builder.fadd(before[0], after[0])]
    number = builder.fcmp_ordered("ord", after[0], after[0])
    stays = builder.fcmp_unordered("<=", after[0], before[0])
    if w.simd.kind == VALUES:
        # LLVM compiles this form to two instructions, one of them the processor's maximum, and others to four.
        return [builder.select(number, builder.select(stays, before[0], after[0]), after[0])]
    stays = builder.and_(number, stays)
    return [builder.select(stays, b, a) for b, a in zip(before, after, strict=True)]


@intrinsic
def nothing(typing, w):
    """Return a state before any pixel: zeros, from which sums start and which largest values don't read."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(context.get_value_type(state_of(w)), None)

    return state_of(w)(w), generate


@intrinsic
def merge(typing, w, before, after):
    """Return the state of all pixels of two states, those of ``before`` coming first."""

    def generate(context, builder, signature, arguments):
        before, after = (unpack(builder, w, state) for state in arguments[1:])
        return pack(context, builder, w, merged(builder, w, before, after))

    return state_of(w)(w, state_of(w), state_of(w)), generate
