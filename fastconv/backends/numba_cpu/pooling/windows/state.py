"""Vectors of windows: in each lane the state of one window, made of its pixels in row-major order.

What poolings differ in is said here, at compile time, by a `Windows`; the loops over images are written once. The state
of a largest value or of a sum is a vector of numbers. Where places are wanted too, it is a pair: the numbers, and where
in the plane each was found. A step merges the state of some pixels with that of later ones:

    values, places    the later one if it is above the earlier one or NaN: of equal ones the first stays, of NaN
                      the last
    averages          their sum

Pixels outside the image are minus infinity or 0 and never loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastconv.backends.numba_cpu.simd import (
    Simd,
    SimdType,
    VectorType,
    broadcast_value,
    vector_of,
)
from fastconv.backends.numba_cpu.simd.compile_time import register_constant

_I32, _I64 = ir.IntType(32), ir.IntType(64)

VALUES, PLACES, AVERAGES = "values", "places", "averages"


@dataclass(frozen=True)
class Windows(Simd):
    """A kind of pooling."""

    kind: str
    columns: int
    """Of a window, side by side; 0 where a kernel is told when it runs."""

    step: int
    """Pixels from one window to the next in a row: 1 to 4, or 0 for any."""

    rows: int = 0
    """Of each window, all in the image; 0 where a kernel is told when it runs. A loop over a number that it doesn't
    know LLVM unrolls eight times, at 15 cycles for each row of windows that are two or three high."""

    @property
    def ahead(self) -> int:
        """Bytes that a vector of windows ``step`` apart both ways reads and none before it has read."""
        return 64 if self.step == 1 else 256

    @property
    def sums(self) -> bool:
        """Whether states are sums."""
        return self.kind == AVERAGES

    @property
    def masked(self) -> bool:
        """Whether a mask costs a load or store nothing, so that all may have one; spaced loads by mask are gathers."""
        return self.instructions.vector_bytes == 64 and self.step != 0


class WindowsType(SimdType):
    """A `Windows` as a compile-time constant."""

    def __init__(self, windows: Windows) -> None:
        super().__init__(windows)
        w = windows
        self.name = f"Windows({w.instructions.name}, {w.dtype}, {w.kind}, {w.columns}, {w.step}, {w.rows})"


register_constant(Windows, WindowsType, ("ahead", "sums", "step", "rows"))


def place_type(w: SimdType) -> ir.IntType:
    """Of places: as wide as the numbers, so that a mask of one fits the other. They wrap around at 2^32 in float32."""
    return ir.IntType(8 * w.simd.itemsize)


def state_of(w: Any) -> Any:
    """The type of a state."""
    numbers = vector_of(w)
    if w.simd.kind != PLACES:
        return numbers
    return types.Tuple([numbers, VectorType(f"int{8 * w.simd.itemsize}", w.simd.lanes)])


def spread(builder: Any, w: Any, value: Any) -> Any:
    """A 64-bit integer as a place in every lane."""
    kind = place_type(w)
    return broadcast_value(builder, value if kind == _I64 else builder.trunc(value, kind), w.simd.lanes)


def ramp(w: Any, step: int = 1) -> Any:
    lanes = w.simd.lanes
    return ir.Constant(ir.VectorType(place_type(w), lanes), list(range(0, step * lanes, step)))


def unpack(builder: Any, w: Any, state: Any) -> list[Any]:
    """Numbers, and places if there are any."""
    return list(cgutils.unpack_tuple(builder, state, 2)) if w.simd.kind == PLACES else [state]


def pack(context: Any, builder: Any, w: Any, parts: Any) -> Any:
    """The state of such parts."""
    return context.make_tuple(builder, state_of(w), parts) if w.simd.kind == PLACES else parts[0]


def widened(builder: Any, distance: Any) -> Any:
    """A distance between places, or a vector of them, in 64 bits."""
    kind = distance.type
    wide = ir.VectorType(_I64, kind.count) if isinstance(kind, ir.VectorType) else _I64
    return distance if kind == wide else builder.zext(distance, wide)


def outside(w: Any) -> Any:
    """What stands for pixels outside the image."""
    kind = vector_of(w).llvm
    number = 0.0 if w.simd.kind == AVERAGES else float("-inf")
    return ir.Constant(kind, [ir.Constant(kind.element, number)] * kind.count)


def merged(builder: Any, w: Any, before: Any, after: Any) -> Any:
    """The parts of two states' merger."""
    if w.simd.kind == AVERAGES:
        return [builder.fadd(before[0], after[0])]
    number = builder.fcmp_ordered("ord", after[0], after[0])
    stays = builder.fcmp_unordered("<=", after[0], before[0])
    if w.simd.kind == VALUES:
        # In this form LLVM makes two instructions of it, one of them the processor's maximum; in others four.
        return [builder.select(number, builder.select(stays, before[0], after[0]), after[0])]
    stays = builder.and_(number, stays)
    return [builder.select(stays, b, a) for b, a in zip(before, after, strict=True)]


@intrinsic
def nothing(typing, w):
    """A state before any pixel: zeros, that sums start from and largest values don't read."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(context.get_value_type(state_of(w)), None)

    return state_of(w)(w), generate


@intrinsic
def merge(typing, w, before, after):
    """The state of all pixels of two states, those of ``before`` coming first."""

    def generate(context, builder, signature, arguments):
        before, after = (unpack(builder, w, state) for state in arguments[1:])
        return pack(context, builder, w, merged(builder, w, before, after))

    return state_of(w)(w, state_of(w), state_of(w)), generate
