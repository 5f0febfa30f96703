"""These functions emit LLVM instructions for vectors. They take and return values and pointers of llvmlite.

They are for the bodies of intrinsics. Loads and stores assume only that addresses are aligned to one element.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

from fastconv.backends.compiler import cgutils
from fastconv.backends.numba_cpu.simd.kinds import vector_of
from fastconv.backends.numba_cpu.simd.types import FLOATS, I32, I64

if TYPE_CHECKING:
    from fastconv.backends.numba_cpu.simd.numba_types import SimdType


def element(builder: Any, simd: SimdType, base: Any, index: Any) -> Any:
    """Return a pointer to element ``index`` of the array at the address ``base``."""
    scalar = FLOATS[simd.simd.dtype]
    return builder.gep(builder.inttoptr(base, scalar.as_pointer()), [index])


def vector_at(builder: Any, simd: SimdType, base: Any, index: Any) -> Any:
    """Return a pointer to the vector whose first element is element ``index`` of the array at ``base``."""
    return builder.bitcast(element(builder, simd, base, index), vector_of(simd).llvm.as_pointer())


def load_vector(builder: Any, simd: SimdType, base: Any, index: Any) -> Any:
    """Load the vector whose first element is element ``index`` of the array at ``base``."""
    value = builder.load(vector_at(builder, simd, base, index))
    value.align = simd.simd.itemsize
    return value


def store_vector(builder: Any, simd: SimdType, value: Any, base: Any, index: Any) -> None:
    """Write a vector to the array at ``base``, starting at element ``index``."""
    builder.store(value, vector_at(builder, simd, base, index)).align = simd.simd.itemsize


def shuffled(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    """Return the elements of ``a`` and ``b`` at the indices in ``order``; those of ``b`` are counted after ``a``."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(order)), order))


def broadcast_value(builder: Any, value: Any, lanes: int) -> Any:
    """Return a vector with ``value`` in every lane."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once (fma)."""
    kind = a.type
    suffix = f"v{kind.count}f{64 if isinstance(kind.element, ir.DoubleType) else 32}"
    function = ir.FunctionType(kind, [kind, kind, kind])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.fma.{suffix}"), [a, b, c])


def mask_between(builder: Any, lanes: int, first: Any, end: Any) -> Any:
    """Return a mask that is true in the lanes from ``first`` up to, not including, ``end``."""
    one, nothing, bound = (ir.Constant(I64, value) for value in (1, 0, lanes))

    def below(count: Any) -> Any:
        """Return an integer whose lowest ``count`` bits are set; ``count`` is clamped to 0 ... lanes."""
        count = builder.select(builder.icmp_signed("<", count, nothing), nothing, count)
        count = builder.select(builder.icmp_signed(">", count, bound), bound, count)
        return builder.trunc(builder.sub(builder.shl(one, count), one), ir.IntType(lanes))

    chosen = builder.and_(below(end), builder.not_(below(first)))
    return builder.bitcast(chosen, ir.VectorType(ir.IntType(1), lanes))


def mask_of_bits(builder: Any, lanes: int, bits: Any) -> Any:
    """Return the mask whose lane i is bit i of the integer ``bits``."""
    return builder.bitcast(builder.trunc(bits, ir.IntType(lanes)), ir.VectorType(ir.IntType(1), lanes))


def masked_load(builder: Any, pointer: Any, mask: Any, otherwise: Any, alignment: int) -> Any:
    """Load the lanes in ``mask``; the other lanes have the value of ``otherwise``, and their memory is not touched."""
    kind = otherwise.type
    function = ir.FunctionType(kind, [pointer.type, I32, mask.type, kind])
    masked = cgutils.get_or_insert_function(builder.module, function, f"llvm.masked.load.{_suffix(kind)}.p0")
    return builder.call(masked, [pointer, ir.Constant(I32, alignment), mask, otherwise])


def masked_store(builder: Any, value: Any, pointer: Any, mask: Any, alignment: int) -> None:
    """Write the lanes in ``mask``; the memory of the other lanes is not touched."""
    kind = value.type
    function = ir.FunctionType(ir.VoidType(), [kind, pointer.type, I32, mask.type])
    masked = cgutils.get_or_insert_function(builder.module, function, f"llvm.masked.store.{_suffix(kind)}.p0")
    builder.call(masked, [value, pointer, ir.Constant(I32, alignment), mask])


def prefetch_line(builder: Any, pointer: Any, *, to_write: bool) -> None:
    """Prefetch the cache line that contains ``pointer``, for a write if ``to_write``."""
    byte = ir.IntType(8).as_pointer()
    function = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
    ask = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
    builder.call(ask, [builder.bitcast(pointer, byte), *(ir.Constant(I32, flag) for flag in (int(to_write), 3, 1))])


def transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Return the transpose of a square matrix, one vector a row, by log2(lanes) rounds of shuffles between pairs."""
    rows = list(rows)
    lanes = len(rows)
    half = lanes // 2
    while half:
        # Exchange the off-diagonal blocks of each square of 2 half x 2 half.
        low = [i if not i & half else lanes + i - half for i in range(lanes)]
        high = [i + half if not i & half else lanes + i for i in range(lanes)]
        for i in range(lanes):
            if not i & half:
                a, b = rows[i], rows[i + half]
                rows[i], rows[i + half] = shuffled(builder, a, b, low), shuffled(builder, a, b, high)
        half //= 2
    return rows


def clamped(builder: Any, value: Any, lowest: Any, highest: Any) -> Any:
    """Return ``value`` with lanes below ``lowest`` or above ``highest`` replaced by these; NaN stays NaN.

    x86's maximum and minimum are just these: of a NaN and a number they return the second operand.
    """
    value = builder.select(builder.fcmp_ordered(">", lowest, value), lowest, value)
    return builder.select(builder.fcmp_ordered("<", highest, value), highest, value)


def _suffix(kind: ir.VectorType) -> str:
    element = {ir.FloatType: "f32", ir.DoubleType: "f64"}.get(type(kind.element), "i64")
    return f"v{kind.count}{element}"
