"""Operations that Numba's CUDA lacks, as LLVM: sums kept in registers, 128-bit loads, matrix units, half precision.

A tile of sums is one value, a tuple, so that it lives in registers however loops are optimised: Numba's
local arrays are put into memory as soon as one loop over them isn't unrolled. Each function here makes an intrinsic
for given sizes and has a twin in `simulated` that a processor can run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import intrinsic

from fastconv.backends.numba_cuda.cores import MatrixTile, RegisterTile

_I32 = ir.IntType(32)
_HALF, _FLOAT = ir.HalfType(), ir.FloatType()


@cache
def zeros(count: int, dtype: types.Type) -> Any:
    """Returns the function ``zeros()``: ``count`` sums, all 0."""

    @intrinsic
    def made(typing: Any) -> Any:
        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            return ir.Constant(context.get_value_type(signature.return_type), None)

        return types.UniTuple(dtype, count)(), emit

    return made


@cache
def load_vectors(groups: int, count: int, dtype: types.Type) -> Any:
    """Returns the function ``load(memory, at, step)``: ``count`` elements from index ``at`` on, from ``at + step`` on,
    and so forth.

    Each group in one load: its address is a multiple of its size.
    """

    @intrinsic
    def loaded(typing: Any, memory: Any, at: Any, step: Any) -> Any:
        result = types.UniTuple(dtype, groups * count)

        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            pointers = _spaced(context, builder, signature, arguments, groups)
            vectors = [_load(builder, pointer, count) for pointer in pointers]
            values = (builder.extract_element(vector, _I32(i)) for vector in vectors for i in range(count))
            return _packed(context, builder, result, values)

        return result(memory, types.int64, types.int64), emit

    return loaded


@cache
def store_vectors(groups: int, count: int, dtype: types.Type) -> Any:
    """Returns the function ``store(memory, at, step, values)``: the inverse of `load_vectors`."""

    @intrinsic
    def stored(typing: Any, memory: Any, at: Any, step: Any, values: Any) -> Any:
        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            for group, pointer in enumerate(_spaced(context, builder, signature, arguments, groups)):
                kind = ir.VectorType(pointer.type.pointee, count)
                vector = ir.Constant(kind, ir.Undefined)
                for i in range(count):
                    value = builder.extract_value(arguments[3], group * count + i)
                    vector = builder.insert_element(vector, value, _I32(i))
                builder.store(vector, builder.bitcast(pointer, kind.as_pointer()), align=count * dtype.bitwidth // 8)
            return context.get_dummy_value()

        return types.void(memory, types.int64, types.int64, types.UniTuple(dtype, groups * count)), emit

    return stored


@cache
def head(count: int, total: int, dtype: types.Type) -> Any:
    """Returns the function ``head(sums)``: the first ``count`` of them."""
    return _picked(range(count), total, dtype)


@cache
def rotate(count: int, total: int, dtype: types.Type) -> Any:
    """Returns the function ``rotate(sums)``: the sums from ``count`` on, and then the first ``count``; moves of
    registers."""
    return _picked([(i + count) % total for i in range(total)], total, dtype)


@cache
def fragment_rows(fragments: int, total: int, half: int) -> Any:
    """Returns the function ``rows(sums)``: the sums of the upper (0) or lower (1) 8 rows of the matrix units' first
    fragments."""
    return _picked([4 * i + 2 * half + j for i in range(fragments) for j in range(2)], total, types.float32)


@cache
def outer(rows: int, columns: int, dtype: types.Type) -> Any:
    """Returns the function ``outer(sums, a, b)``: sums[i, j] + a[i] * b[j], row-major, each product fused with its
    addition."""

    @intrinsic
    def multiplied(typing: Any, sums: Any, a: Any, b: Any) -> Any:
        result = types.UniTuple(dtype, rows * columns)

        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            kept, a, b = ([builder.extract_value(each, i) for i in range(each.type.count)] for each in arguments)
            _fuse(builder, kept, a, b)
            return _packed(context, builder, result, kept)

        return result(sums, a, b), emit

    return multiplied


@cache
def gather(count: int, stored: Any) -> Any:
    """Returns the function ``gather(memory, at, step, limit)``: the numbers at ``at``, ``at + step``, ..., those from
    ``limit`` on repeated.

    So the caller need not look whether there are as many: an element that is never stored may be any number.
    """

    @intrinsic
    def gathered(typing: Any, memory: Any, at: Any, step: Any, limit: Any) -> Any:
        result = types.UniTuple(stored.computed, count)

        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            memory, at, step, limit = arguments
            last = builder.sub(limit, limit.type(1))
            values = []
            for i in range(count):
                place = builder.select(builder.icmp_signed("<", limit.type(i), last), limit.type(i), last)
                pointer = builder.gep(memory, [builder.add(at, builder.mul(place, step))])
                values.append(_number(builder, builder.load(pointer), stored))
            return _packed(context, builder, result, values)

        return result(memory, types.int64, types.int64, types.int64), emit

    return gathered


@cache
def gather_inside(count: int, stored: Any) -> Any:
    """Returns the function ``gather(memory, row, column, step, width)``: the numbers of a row at ``column``, ``column +
    step``, ...

    0 outside the ``width`` elements of the row that begins at ``row``, whose first element is there in any case.
    """

    @intrinsic
    def gathered(typing: Any, memory: Any, row: Any, column: Any, step: Any, width: Any) -> Any:
        result = types.UniTuple(stored.computed, count)

        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            memory, row, column, step, width = arguments
            values = []
            for _ in range(count):
                inside = builder.icmp_unsigned("<", column, width)
                place = builder.sext(builder.select(inside, column, column.type(0)), row.type)
                place = builder.add(row, place)
                number = _number(builder, builder.load(builder.gep(memory, [place])), stored)
                values.append(builder.select(inside, number, ir.Constant(number.type, 0)))
                column = builder.add(column, step)
            return _packed(context, builder, result, values)

        return result(memory, types.int64, *[types.int32] * 3), emit

    return gathered


@cache
def multiply_tiles(tile: RegisterTile, dtype: types.Type) -> Any:
    """Returns the function ``multiply(sums, a, b, at_a, at_b)``: one step of `RegisterTile`, as straight code.

    Unrolled over the whole depth, so that the assembler can fetch the next vectors while it multiplies these.
    """
    pitch_a, pitch_b = tile.pitches

    @intrinsic
    def multiplied(typing: Any, sums: Any, a: Any, b: Any, at_a: Any, at_b: Any) -> Any:
        result = types.UniTuple(dtype, tile.sums)

        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            kept = [builder.extract_value(arguments[0], i) for i in range(tile.sums)]
            bases = [_element(context, builder, signature.args[i], arguments[i], arguments[i + 2]) for i in (1, 2)]

            def panel(base: Any, offset: int, groups: int, spacing: int) -> Iterator[Any]:
                for group in range(groups):
                    at = builder.gep(base, [_I32(offset + group * spacing)])
                    vector = _load(builder, at, tile.vector)
                    yield from (builder.extract_element(vector, _I32(i)) for i in range(tile.vector))

            for depth in range(tile.depth):
                row = list(panel(bases[0], depth * pitch_a, tile.row_groups, tile.row_spacing))
                column = list(panel(bases[1], depth * pitch_b, tile.column_groups, tile.column_spacing))
                _fuse(builder, kept, row, column)
            return _packed(context, builder, result, kept)

        return result(sums, a, b, types.int64, types.int64), emit

    return multiplied


_MMA = (
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
    "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
)


@cache
def multiply_matrices(tile: MatrixTile) -> Any:
    """Returns the function ``multiply(sums, a, b, at_a, at_b)``: one step of `MatrixTile` by the matrix units, TF32
    products in float32.

    The fragments' layouts are those of the PTX manual, "Matrix fragments for mma.m16n8k8": lane 4 g + t holds of A the
    elements (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4), of B (t, g), (t + 4, g), and of the sums (g, 2 t),
    (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1).
    """
    pitch_a, pitch_b = tile.pitches

    @intrinsic
    def multiplied(typing: Any, sums: Any, a: Any, b: Any, at_a: Any, at_b: Any) -> Any:
        result = types.UniTuple(types.float32, tile.sums)
        fragment = ir.LiteralStructType([_FLOAT] * 4)
        operation = ir.InlineAsm(
            ir.FunctionType(fragment, [_I32] * 6 + [_FLOAT] * 4), _MMA, "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f"
        )

        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            kept = [builder.extract_value(arguments[0], i) for i in range(tile.sums)]
            bases = [_element(context, builder, signature.args[i], arguments[i], arguments[i + 2]) for i in (1, 2)]

            def bits(base: Any, offset: int) -> Any:
                value = builder.load(builder.gep(base, [_I32(offset)]), align=4)
                return builder.bitcast(value, _I32)

            for depth in range(0, tile.depth, 8):
                low, high = depth * pitch_a, (depth + 4) * pitch_a
                rows = [
                    [bits(bases[0], at + 16 * i + half) for at in (low, high) for half in (0, 8)]
                    for i in range(tile.row_fragments)
                ]
                columns = [
                    [bits(bases[1], (depth + part) * pitch_b + 8 * j) for part in (0, 4)]
                    for j in range(tile.column_fragments)
                ]
                for i, row in enumerate(rows):
                    for j, column in enumerate(columns):
                        first = 4 * (i * tile.column_fragments + j)
                        found = builder.call(operation, [*row, *column, *kept[first : first + 4]])
                        kept[first : first + 4] = [builder.extract_value(found, n) for n in range(4)]
            return _packed(context, builder, result, kept)

        return result(sums, a, b, types.int64, types.int64), emit

    return multiplied


@intrinsic
def to_tf32(typing: Any, value: Any) -> Any:
    """Returns the float32 with the 10 nearest bits of mantissa, ties away from zero: what matrix units take without
    loss."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_I32, [_FLOAT])
        rounded = builder.call(ir.InlineAsm(kind, "cvt.rna.tf32.f32 $0, $1;", "=r,f"), arguments)
        return builder.bitcast(rounded, _FLOAT)

    return types.float32(types.float32), emit


@intrinsic
def from_float16(typing: Any, bits: Any) -> Any:
    """Returns the float32 equal to the float16 of these bits."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], _HALF), _FLOAT)

    return types.float32(types.uint16), emit


@intrinsic
def to_float16(typing: Any, value: Any) -> Any:
    """Returns the bits of the nearest float16, ties to even."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.fptrunc(arguments[0], _HALF), ir.IntType(16))

    return types.uint16(types.float32), emit


@intrinsic
def float_from_bits(typing: Any, bits: Any) -> Any:
    """Returns the float32 whose bits these are."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _FLOAT)

    return types.float32(types.uint32), emit


@intrinsic
def bits_of_float(typing: Any, value: Any) -> Any:
    """Returns the bits of a float32."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _I32)

    return types.uint32(types.float32), emit


@intrinsic
def atomic_min(typing: Any, memory: Any, at: Any, value: Any) -> Any:
    """Does memory[at] = min(memory[at], value) on int32, as one step for all threads."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        pointer = builder.gep(arguments[0], [arguments[1]])
        builder.atomic_rmw("min", pointer, arguments[2], ordering="monotonic")
        return context.get_dummy_value()

    return types.void(memory, types.int64, types.int32), emit


def _picked(order: Sequence[int], total: int, dtype: types.Type) -> Any:
    """Returns the function ``pick(sums)``: the sums at the listed places."""

    @intrinsic
    def pick(typing: Any, sums: Any) -> Any:
        result = types.UniTuple(dtype, len(order))

        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            return _packed(context, builder, result, (builder.extract_value(arguments[0], i) for i in order))

        return result(types.UniTuple(dtype, total)), emit

    return pick


def _element(context: Any, builder: ir.IRBuilder, kind: Any, memory: Any, at: Any) -> Any:
    """Returns the address of an element of an array or a pointer."""
    if isinstance(kind, types.Array):
        memory = context.make_array(kind)(context, builder, memory).data
    return builder.gep(memory, [at])


def _number(builder: ir.IRBuilder, element: Any, stored: Any) -> Any:
    """Returns the number that an element of a `storage.Storage` stands for."""
    if stored.name == "float16":
        return builder.fpext(builder.bitcast(element, _HALF), _FLOAT)
    if stored.name == "bfloat16":
        return builder.bitcast(builder.shl(builder.zext(element, _I32), _I32(16)), _FLOAT)
    return element


def _spaced(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any, groups: int) -> Iterator[Any]:
    """The addresses of memory[at], memory[at + step], ... for arguments that begin so."""
    at = arguments[1]
    for _ in range(groups):
        yield _element(context, builder, signature.args[0], arguments[0], at)
        at = builder.add(at, arguments[2])


def _load(builder: ir.IRBuilder, pointer: Any, count: int) -> Any:
    kind = ir.VectorType(pointer.type.pointee, count)
    width = 8 if isinstance(pointer.type.pointee, ir.DoubleType) else 4
    return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=count * width)


def _fuse(builder: ir.IRBuilder, sums: list[Any], a: list[Any], b: list[Any]) -> None:
    for i, row in enumerate(a):
        for j, column in enumerate(b):
            at = i * len(b) + j
            sums[at] = builder.fma(row, column, sums[at])


def _packed(context: Any, builder: ir.IRBuilder, kind: Any, values: Any) -> Any:
    result = ir.Constant(context.get_value_type(kind), ir.Undefined)
    for i, value in enumerate(values):
        result = builder.insert_value(result, value, i)
    return result
