"""These functions read and write vectors of an image; at its sides some lanes have no pixel.

One unsigned comparison makes the mask for both sides. If the processor's masks cost nothing, every access has one;
otherwise only accesses that reach beyond a side (`Windows.masked`).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import cgutils
from fastconv.backends.numba_cpu.pooling.windows.state import outside, ramp, spread
from fastconv.backends.numba_cpu.simd import broadcast_value, element, vector_at, vector_of

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def load(builder: Any, w: Any, row: Any, column: Any) -> Any:
    """Return the vector from ``column`` on."""
    value = builder.load(vector_at(builder, w, row, column))
    value.align = w.simd.itemsize
    return value


def visible(builder: Any, w: Any, column: Any, width: Any) -> Any:
    """Return the mask of lanes that are inside an image ``width`` wide; the first lane is in ``column``."""
    # One unsigned comparison serves both sides.
    columns = builder.add(ramp(w), spread(builder, w, column))
    return builder.icmp_unsigned("<", columns, spread(builder, w, width))


def load_visible(builder: Any, w: Any, row: Any, column: Any, width: Any) -> Any:
    """Return the vector from ``column`` on of an image ``width`` wide; lanes outside hold `outside`."""
    mask = visible(builder, w, column, width)
    otherwise = outside(w)
    pointer = vector_at(builder, w, row, column)
    function = ir.FunctionType(otherwise.type, [pointer.type, _I32, mask.type, otherwise.type])
    name = f"llvm.masked.load.v{w.simd.lanes}f{8 * w.simd.itemsize}.p0"
    masked = cgutils.get_or_insert_function(builder.module, function, name)
    return builder.call(masked, [pointer, ir.Constant(_I32, w.simd.itemsize), mask, otherwise])


def load_spaced(builder: Any, w: Any, row: Any, column: Any, step: Any) -> Any:
    """Return elements ``column``, ``column + step``, ... loaded one by one: 3/4 of a gather's time on Zen 4."""
    value: Any = ir.Constant(vector_of(w).llvm, ir.Undefined)
    for lane in range(w.simd.lanes):
        number = builder.load(element(builder, w, row, column))
        value = builder.insert_element(value, number, ir.Constant(_I32, lane))
        column = builder.add(column, step)
    return value


def load_spaced_visible(builder: Any, w: Any, row: Any, column: Any, step: Any, width: Any) -> Any:
    """Return what `load_spaced` does, with `outside` in lanes whose elements are outside the image."""
    lanes, size = w.simd.lanes, ir.Constant(_I64, w.simd.itemsize)
    offsets = ir.Constant(ir.VectorType(_I64, lanes), list(range(lanes)))
    columns = builder.add(
        builder.mul(offsets, broadcast_value(builder, step, lanes)), broadcast_value(builder, column, lanes)
    )
    mask = builder.icmp_unsigned("<", columns, broadcast_value(builder, width, lanes))
    addresses = builder.add(
        builder.mul(columns, broadcast_value(builder, size, lanes)), broadcast_value(builder, row, lanes)
    )
    pointers = builder.inttoptr(addresses, ir.VectorType(ir.PointerType(), lanes))
    otherwise = outside(w)
    function = ir.FunctionType(otherwise.type, [pointers.type, _I32, mask.type, otherwise.type])
    name = f"llvm.masked.gather.v{lanes}f{8 * w.simd.itemsize}.v{lanes}p0"
    gather = cgutils.get_or_insert_function(builder.module, function, name)
    return builder.call(gather, [pointers, ir.Constant(_I32, w.simd.itemsize), mask, otherwise])


def spaced(builder: Any, w: Any, vectors: list[Any], first: int) -> Any:
    """Return elements ``first``, ``first + n``, ... of n successive vectors, by n - 1 shuffles."""
    lanes = w.simd.lanes
    places = range(first, len(vectors) * lanes, len(vectors))
    chosen = vectors[0]
    for number, vector in enumerate(vectors[1:], 1):
        order = []
        for lane, place in enumerate(places):
            before = place if number == 1 else lane
            order.append(before if place < number * lanes else lanes + place % lanes)
        chosen = builder.shuffle_vector(chosen, vector, ir.Constant(ir.VectorType(_I32, lanes), order))
    return chosen


def interleaved(builder: Any, w: Any, a: Any, b: Any) -> list[Any]:
    """Return a[0], b[0], a[1], b[1], ... in two vectors."""
    lanes = w.simd.lanes
    both = [i // 2 + (lanes if i % 2 else 0) for i in range(2 * lanes)]
    orders = [ir.Constant(ir.VectorType(_I32, lanes), half) for half in (both[:lanes], both[lanes:])]
    return [builder.shuffle_vector(a, b, order) for order in orders]


def write_visible(builder: Any, w: Any, values: Any, row: Any, column: Any, width: Any) -> None:
    """Store the values from element ``column`` of a row of ``width`` elements on; those outside it are left out."""
    lanes, scalar = w.simd.lanes, values.type.element
    size = 8 if scalar == _I64 else w.simd.itemsize
    place = builder.gep(builder.inttoptr(row, scalar.as_pointer()), [column])
    pointer = builder.bitcast(place, values.type.as_pointer())

    def masked() -> None:
        mask = visible(builder, w, column, width)
        function = ir.FunctionType(ir.VoidType(), [values.type, pointer.type, _I32, mask.type])
        name = f"llvm.masked.store.v{lanes}{'i64' if scalar == _I64 else f'f{8 * size}'}.p0"
        store = cgutils.get_or_insert_function(builder.module, function, name)
        builder.call(store, [values, pointer, ir.Constant(_I32, size), mask])

    if w.simd.masked:
        masked()
        return
    before = builder.icmp_signed("<", column, ir.Constant(_I64, 0))
    beyond = builder.icmp_signed(">", builder.add(column, ir.Constant(_I64, lanes)), width)
    with builder.if_else(builder.or_(before, beyond)) as (some, all_of_them):
        with some:
            masked()
        with all_of_them:
            builder.store(values, pointer).align = size
