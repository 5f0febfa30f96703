"""Vectors for Numba: a type for a register full of numbers, and the handful of operations that kernels need.

Numba leaves vectors to LLVM's optimiser, which finds them in easy loops and stays at 256 bits where the processor has
512. Here they are written out: ``load(simd, base, i)`` is one instruction, and its value has a type of its own. The
first argument of every operation, a `Simd`, says at compile time what the elements are and how many a vector holds; it
takes no register and no time.

Addresses are integers, indices count elements. Loads and stores assume the elements' alignment only: on processors of
the last ten years an unaligned vector costs what an aligned one does unless it crosses a cache line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.types import intp
from numba.extending import intrinsic, models, register_model

from fastconv.backends.numba_cpu.compile_time import register_constant
from fastconv.backends.numba_cpu.instruction_set import InstructionSet

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_FLOATS = {"float32": ir.FloatType(), "float64": ir.DoubleType(), "int32": _I32, "int64": _I64}


@dataclass(frozen=True)
class Simd:
    """What a kernel's vectors are: elements of ``dtype`` ("float32" or "float64"), as an instruction set has them."""

    instructions: InstructionSet
    dtype: str
    itemsize: int = field(init=False, compare=False, repr=False)
    """Bytes of an element."""
    lanes: int = field(init=False, compare=False, repr=False)
    """Elements of a vector."""

    def __post_init__(self) -> None:
        # A search for a tiling reads them a thousand times.
        object.__setattr__(self, "itemsize", np.dtype(self.dtype).itemsize)
        object.__setattr__(self, "lanes", self.instructions.vector_bytes // self.itemsize)

    def __hash__(self) -> int:
        # Plans are looked up by it at each call: all fields take 300 ns, and there are four of these at most.
        return hash(self.dtype)


class SimdType(types.Type):
    """A `Simd` as a compile-time constant."""

    def __init__(self, simd: Simd) -> None:
        self.simd = simd
        self.scalar = getattr(types, simd.dtype)
        super().__init__(name=f"Simd({simd.instructions.name}, {simd.dtype})")


class VectorType(types.Type):
    """A register of ``lanes`` elements."""

    def __init__(self, dtype: str, lanes: int) -> None:
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"Vector({dtype} x {lanes})")

    @property
    def llvm(self) -> ir.VectorType:
        return ir.VectorType(ir.IntType(1) if self.dtype == "mask" else _FLOATS[self.dtype], self.lanes)


register_constant(Simd, SimdType, ("lanes", "itemsize"))


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: VectorType) -> None:
        super().__init__(manager, kind, kind.llvm)


def vector_of(simd: SimdType) -> VectorType:
    """The type of a vector of numbers."""
    return VectorType(simd.simd.dtype, simd.simd.lanes)


def mask_of(simd: SimdType) -> VectorType:
    """The type of a vector of truth values."""
    return VectorType("mask", simd.simd.lanes)


def index_of(simd: SimdType) -> VectorType:
    """The type of a vector of 64-bit integers, one for each element."""
    return VectorType("int64", simd.simd.lanes)


def element(builder: Any, simd: SimdType, base: Any, index: Any) -> Any:
    """A pointer to element ``index`` of the array at the address ``base``."""
    scalar = _FLOATS[simd.simd.dtype]
    return builder.gep(builder.inttoptr(base, scalar.as_pointer()), [index])


def vector_at(builder: Any, simd: SimdType, base: Any, index: Any) -> Any:
    """A pointer to the vector whose first element is element ``index`` of the array at ``base``."""
    return builder.bitcast(element(builder, simd, base, index), vector_of(simd).llvm.as_pointer())


def load_vector(builder: Any, simd: SimdType, base: Any, index: Any) -> Any:
    """The vector whose first element is element ``index`` of the array at ``base``."""
    value = builder.load(vector_at(builder, simd, base, index))
    value.align = simd.simd.itemsize
    return value


def store_vector(builder: Any, simd: SimdType, value: Any, base: Any, index: Any) -> None:
    """Write a vector to the array at ``base``, from element ``index`` on."""
    builder.store(value, vector_at(builder, simd, base, index)).align = simd.simd.itemsize


def shuffled(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    """Elements of two vectors, counted through both, in any order."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(order)), order))


def broadcast_value(builder: Any, value: Any, lanes: int) -> Any:
    """A vector with ``value`` in every lane."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""
    kind = a.type
    suffix = f"v{kind.count}f{64 if isinstance(kind.element, ir.DoubleType) else 32}"
    function = ir.FunctionType(kind, [kind, kind, kind])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.fma.{suffix}"), [a, b, c])


def mask_between(builder: Any, lanes: int, first: Any, end: Any) -> Any:
    """A vector of truth values, true in the lanes ``first`` up to ``end``."""
    one, nothing, bound = (ir.Constant(_I64, value) for value in (1, 0, lanes))

    def below(count: Any) -> Any:
        """An integer with its lowest ``count`` bits set."""
        count = builder.select(builder.icmp_signed("<", count, nothing), nothing, count)
        count = builder.select(builder.icmp_signed(">", count, bound), bound, count)
        return builder.trunc(builder.sub(builder.shl(one, count), one), ir.IntType(lanes))

    chosen = builder.and_(below(end), builder.not_(below(first)))
    return builder.bitcast(chosen, ir.VectorType(ir.IntType(1), lanes))


def mask_of_bits(builder: Any, lanes: int, bits: Any) -> Any:
    """The vector of truth values whose lane i is bit i of an integer."""
    return builder.bitcast(builder.trunc(bits, ir.IntType(lanes)), ir.VectorType(ir.IntType(1), lanes))


def masked_load(builder: Any, pointer: Any, mask: Any, otherwise: Any, alignment: int) -> Any:
    """A vector from memory in the lanes of ``mask``, ``otherwise`` in the others, whose memory is not touched."""
    kind = otherwise.type
    function = ir.FunctionType(kind, [pointer.type, _I32, mask.type, kind])
    masked = cgutils.get_or_insert_function(builder.module, function, f"llvm.masked.load.{_suffix(kind)}.p0")
    return builder.call(masked, [pointer, ir.Constant(_I32, alignment), mask, otherwise])


def masked_store(builder: Any, value: Any, pointer: Any, mask: Any, alignment: int) -> None:
    """Write the lanes of ``mask``."""
    kind = value.type
    function = ir.FunctionType(ir.VoidType(), [kind, pointer.type, _I32, mask.type])
    masked = cgutils.get_or_insert_function(builder.module, function, f"llvm.masked.store.{_suffix(kind)}.p0")
    builder.call(masked, [value, pointer, ir.Constant(_I32, alignment), mask])


def ask_for(builder: Any, pointer: Any, *, to_write: bool) -> None:
    """Prefetch the cache line that ``pointer`` is in."""
    byte = ir.IntType(8).as_pointer()
    function = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
    ask = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
    builder.call(ask, [builder.bitcast(pointer, byte), *(ir.Constant(_I32, flag) for flag in (int(to_write), 3, 1))])


def transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """The transpose of a square of as many vectors as lanes, in log2(lanes) rounds of shuffles between pairs."""
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


def raise_to(builder: Any, value: Any, floor: Any) -> Any:
    """The larger of two vectors in each lane; NaN in ``value`` stays."""
    return builder.select(builder.fcmp_ordered("<", value, floor), floor, value)


def _suffix(kind: ir.VectorType) -> str:
    element = {ir.FloatType: "f32", ir.DoubleType: "f64"}.get(type(kind.element), "i64")
    return f"v{kind.count}{element}"


@intrinsic
def load(typing, simd, base, index):
    """The vector that starts at element ``index``."""

    def generate(context, builder, signature, arguments):
        return load_vector(builder, simd, *arguments[1:])

    return vector_of(simd)(simd, intp, intp), generate


@intrinsic
def store(typing, simd, base, index, value):
    """Write a vector from element ``index`` on."""

    def generate(context, builder, signature, arguments):
        _, base, index, value = arguments
        store_vector(builder, simd, value, base, index)
        return context.get_dummy_value()

    return types.void(simd, intp, intp, vector_of(simd)), generate


@intrinsic
def load_where(typing, simd, base, index, mask, otherwise):
    """As `load` in the lanes of ``mask``, ``otherwise`` in the others, whose memory is not touched."""

    def generate(context, builder, signature, arguments):
        _, base, index, mask, otherwise = arguments
        pointer = vector_at(builder, simd, base, index)
        return masked_load(builder, pointer, mask, otherwise, simd.simd.itemsize)

    return vector_of(simd)(simd, intp, intp, mask_of(simd), vector_of(simd)), generate


@intrinsic
def store_where(typing, simd, base, index, mask, value):
    """As `store` in the lanes of ``mask``; other memory is not touched."""

    def generate(context, builder, signature, arguments):
        _, base, index, mask, value = arguments
        masked_store(builder, value, vector_at(builder, simd, base, index), mask, simd.simd.itemsize)
        return context.get_dummy_value()

    return types.void(simd, intp, intp, mask_of(simd), vector_of(simd)), generate


@intrinsic
def load_scalar(typing, simd, base, index):
    """Element ``index``."""

    def generate(context, builder, signature, arguments):
        return builder.load(element(builder, simd, *arguments[1:]))

    return simd.scalar(simd, intp, intp), generate


@intrinsic
def store_scalar(typing, simd, base, index, value):
    """Write element ``index``."""

    def generate(context, builder, signature, arguments):
        _, base, index, value = arguments
        builder.store(value, element(builder, simd, base, index))
        return context.get_dummy_value()

    return types.void(simd, intp, intp, simd.scalar), generate


@intrinsic
def zero(typing, simd):
    """An element that is 0."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(_FLOATS[simd.simd.dtype], 0.0)

    return simd.scalar(simd), generate


@intrinsic
def load_integer(typing, base, index):
    """64-bit integer ``index`` of the array at ``base``."""

    def generate(context, builder, signature, arguments):
        base, index = arguments
        return builder.load(builder.gep(builder.inttoptr(base, _I64.as_pointer()), [index]))

    return intp(intp, intp), generate


@intrinsic
def store_integer(typing, base, index, value):
    """Write 64-bit integer ``index`` of the array at ``base``."""

    def generate(context, builder, signature, arguments):
        base, index, value = arguments
        builder.store(value, builder.gep(builder.inttoptr(base, _I64.as_pointer()), [index]))
        return context.get_dummy_value()

    return types.void(intp, intp, intp), generate


@intrinsic
def stack_integers(typing):
    """The address of room for 64 64-bit integers, until the function returns."""

    def generate(context, builder, signature, arguments):
        return builder.ptrtoint(cgutils.alloca_once(builder, _I64, 64), _I64)

    return intp(), generate


@intrinsic
def broadcast(typing, simd, value):
    """A vector with ``value`` in every lane."""

    def generate(context, builder, signature, arguments):
        return broadcast_value(builder, arguments[1], simd.simd.lanes)

    return vector_of(simd)(simd, simd.scalar), generate


@intrinsic
def add(typing, simd, a, b):
    """a + b, lane by lane."""

    def generate(context, builder, signature, arguments):
        return builder.fadd(arguments[1], arguments[2])

    return vector_of(simd)(simd, vector_of(simd), vector_of(simd)), generate


@intrinsic
def fused(typing, simd, a, b, c):
    """a * b + c, rounded once, lane by lane."""

    def generate(context, builder, signature, arguments):
        return multiply_add(builder, *arguments[1:])

    return vector_of(simd)(simd, vector_of(simd), vector_of(simd), vector_of(simd)), generate


@intrinsic
def is_zero(typing, simd, value):
    """Whether every lane is 0, or -0; NaN is not."""

    def generate(context, builder, signature, arguments):
        same = builder.fcmp_ordered("==", arguments[1], ir.Constant(vector_of(simd).llvm, None))
        lanes = ir.IntType(simd.simd.lanes)
        return builder.icmp_unsigned("==", builder.bitcast(same, lanes), ir.Constant(lanes, -1))

    return types.boolean(simd, vector_of(simd)), generate


@intrinsic
def not_below(typing, simd, value, floor):
    """``value`` where it is not below ``floor``, else ``floor``; NaN stays."""

    def generate(context, builder, signature, arguments):
        return raise_to(builder, arguments[1], arguments[2])

    return vector_of(simd)(simd, vector_of(simd), vector_of(simd)), generate


@intrinsic
def zeros(typing, simd):
    """A vector of zeros."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(vector_of(simd).llvm, None)

    return vector_of(simd)(simd), generate


@intrinsic
def lanes_between(typing, simd, first, end):
    """The mask of lanes ``first`` up to, not including, ``end``; both may lie outside the vector."""

    def generate(context, builder, signature, arguments):
        return mask_between(builder, simd.simd.lanes, arguments[1], arguments[2])

    return mask_of(simd)(simd, intp, intp), generate


@intrinsic
def bits_between(typing, simd, first, end):
    """`lanes_between` as an integer, for keeping; `mask_from` makes a mask of it."""

    def generate(context, builder, signature, arguments):
        mask = mask_between(builder, simd.simd.lanes, arguments[1], arguments[2])
        return builder.zext(builder.bitcast(mask, ir.IntType(simd.simd.lanes)), _I64)

    return intp(simd, intp, intp), generate


@intrinsic
def mask_from(typing, simd, bits):
    """The mask whose lane i is bit i."""

    def generate(context, builder, signature, arguments):
        return mask_of_bits(builder, simd.simd.lanes, arguments[1])

    return mask_of(simd)(simd, intp), generate


@intrinsic
def evens(typing, simd, a, b):
    """Elements 0, 2, 4, ... of two vectors, one after the other."""

    def generate(context, builder, signature, arguments):
        lanes = simd.simd.lanes
        order = ir.Constant(ir.VectorType(_I32, lanes), [2 * lane for lane in range(lanes)])
        return builder.shuffle_vector(arguments[1], arguments[2], order)

    return vector_of(simd)(simd, vector_of(simd), vector_of(simd)), generate


@intrinsic
def prefetch(typing, simd, base, index):
    """Ask for the cache line of element ``index``."""

    def generate(context, builder, signature, arguments):
        ask_for(builder, element(builder, simd, *arguments[1:]), to_write=False)
        return context.get_dummy_value()

    return types.void(simd, intp, intp), generate


@intrinsic
def transpose(typing, simd, source, source_step, rows, target, target_step):
    """Write the transpose of a square of lanes x lanes elements; rows of both are ``step`` elements apart.

    Of the source only ``rows`` exist, at least one; the last stands for those beyond. Rows of the target are written
    one after another and whole, so where they are less than a vector apart, each covers what the one before wrote too
    far.
    """

    def generate(context, builder, signature, arguments):
        _, source, source_step, count, target, target_step = arguments
        lanes = simd.simd.lanes
        last = builder.sub(count, ir.Constant(_I64, 1))
        rows = []
        for i in range(lanes):
            wanted = ir.Constant(_I64, i)
            there = builder.select(builder.icmp_signed("<", wanted, count), wanted, last)
            rows.append(load_vector(builder, simd, source, builder.mul(there, source_step)))
        for i, row in enumerate(transposed(builder, rows)):
            store_vector(builder, simd, row, target, builder.mul(target_step, ir.Constant(_I64, i)))
        return context.get_dummy_value()

    return types.void(simd, *[intp] * 5), generate


@intrinsic
def call(typing, function, arguments):
    """Call the compiled function of integers at the address ``function``; see `fastconv.backends.jit.address_of`."""

    def generate(context, builder, signature, given):
        kind = ir.FunctionType(ir.VoidType(), [_I64] * arguments.count)
        values = cgutils.unpack_tuple(builder, given[1], arguments.count)
        builder.call(builder.inttoptr(given[0], kind.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(intp, types.UniTuple(intp, arguments.count)), generate
