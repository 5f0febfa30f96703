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
from functools import reduce
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models, register_default
from numba.core.imputils import lower_constant
from numba.core.types import intp
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, typeof_impl

from fastconv.backends.numba_cpu.simd import (
    Simd,
    SimdType,
    VectorType,
    broadcast_value,
    element,
    vector_at,
    vector_of,
)

_I32, _I64 = ir.IntType(32), ir.IntType(64)

VALUES, PLACES, AVERAGES = "values", "places", "averages"


@dataclass(frozen=True)
class Windows(Simd):
    """A kind of pooling."""

    kind: str
    columns: int
    """Of a window, side by side; 0 where a kernel is told when it runs."""

    step: int
    """Pixels from one window to the next in a row: 1, 2, or 0 for any."""

    @property
    def ahead(self) -> int:
        """Bytes that a vector of windows ``step`` apart both ways reads and none before it has read."""
        return 64 if self.step == 1 else 256

    @property
    def masked(self) -> bool:
        """Whether a mask costs a load or store nothing, so that all may have one."""
        return self.instructions.vector_bytes == 64


class WindowsType(SimdType):
    """A `Windows` as a compile-time constant."""

    def __init__(self, windows: Windows) -> None:
        super().__init__(windows)
        w = windows
        self.name = f"Windows({w.instructions.name}, {w.dtype}, {w.kind}, {w.columns}, {w.step})"


@register_default(WindowsType)
class _WindowsModel(models.OpaqueModel):
    pass


@infer_getattr
class _WindowsAttributes(AttributeTemplate):
    key = WindowsType

    def resolve_ahead(self, kind: WindowsType) -> Any:
        return types.intp


@typeof_impl.register(Windows)
def _typeof_windows(value: Windows, _: Any) -> WindowsType:
    return WindowsType(value)


@lower_constant(WindowsType)
def _constant_windows(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()


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


def load(builder: Any, w: Any, row: Any, column: Any) -> Any:
    """The vector from ``column`` on."""
    value = builder.load(vector_at(builder, w, row, column))
    value.align = w.simd.itemsize
    return value


def _visible(builder: Any, w: Any, column: Any, width: Any) -> Any:
    """The mask of lanes that are inside an image ``width`` wide, the first one being in ``column``."""
    # One comparison without sign, for both sides.
    columns = builder.add(ramp(w), spread(builder, w, column))
    return builder.icmp_unsigned("<", columns, spread(builder, w, width))


def load_visible(builder: Any, w: Any, row: Any, column: Any, width: Any) -> Any:
    """The vector from ``column`` on, as far as it is in the image, which is ``width`` wide."""
    mask = _visible(builder, w, column, width)
    otherwise = outside(w)
    pointer = vector_at(builder, w, row, column)
    function = ir.FunctionType(otherwise.type, [pointer.type, _I32, mask.type, otherwise.type])
    name = f"llvm.masked.load.v{w.simd.lanes}f{8 * w.simd.itemsize}.p0"
    masked = cgutils.get_or_insert_function(builder.module, function, name)
    return builder.call(masked, [pointer, ir.Constant(_I32, w.simd.itemsize), mask, otherwise])


def _load_spaced(builder: Any, w: Any, row: Any, column: Any, step: Any) -> Any:
    """Elements ``column``, ``column + step``, ... one by one: a gather instruction is slower on AMD's processors."""
    value: Any = ir.Constant(vector_of(w).llvm, ir.Undefined)
    for lane in range(w.simd.lanes):
        number = builder.load(element(builder, w, row, column))
        value = builder.insert_element(value, number, ir.Constant(_I32, lane))
        column = builder.add(column, step)
    return value


def _load_spaced_visible(builder: Any, w: Any, row: Any, column: Any, step: Any, width: Any) -> Any:
    """As `_load_spaced`, as far as the elements are in the image."""
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


def every_second(builder: Any, w: Any, a: Any, b: Any, first: int) -> Any:
    """Elements ``first``, ``first + 2``, ... of two vectors, one after the other."""
    order = list(range(first, 2 * w.simd.lanes, 2))
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, w.simd.lanes), order))


@intrinsic
def row_of_windows(typing, w, row, column, width, count, step, apart, starts, origin):
    """The states of one row of windows that lie side by side.

    row: the address of the row in an image ``width`` wide. column: of the first window's first pixel. count, step,
    apart: columns of a window, from one window to the next, and from one column of a window to the next; the first
    two may be known to ``w`` already. starts: the address of each window's first column in the image, as places.
    origin: the row's first pixel in the plane.
    """

    def generate(context, builder, signature, arguments):
        _, row, column, width, count, step, apart, starts, origin = arguments

        def states(inside: bool) -> list[Any]:
            return _row(builder, w, inside, row, column, width, count, step, apart)

        if w.simd.masked:
            state = states(False)
        else:
            reach = builder.mul(ir.Constant(_I64, w.simd.lanes - 1), step)
            reach = builder.add(reach, ir.Constant(_I64, max(1, w.simd.step)))
            reach = builder.add(reach, builder.mul(builder.sub(count, ir.Constant(_I64, 1)), apart))
            beyond = builder.icmp_signed(">", builder.add(column, reach), width)
            at_side = builder.or_(beyond, builder.icmp_signed("<", column, ir.Constant(_I64, 0)))
            state = _either(builder, at_side, lambda: states(False), lambda: states(True))
        if w.simd.kind == PLACES:
            # A window of minus infinities keeps its first column, which may be outside the image.
            lane_columns = builder.add(spread(builder, w, column), builder.mul(ramp(w), spread(builder, w, step)))
            found = builder.add(state[1], lane_columns)
            first_inside = builder.load(builder.inttoptr(starts, found.type.as_pointer()))
            first_inside.align = w.simd.itemsize
            found = builder.select(builder.icmp_signed("<", found, first_inside), first_inside, found)
            state[1] = builder.add(found, spread(builder, w, origin))
        return pack(context, builder, w, state)

    return state_of(w)(w, *[intp] * 8), generate


def _either(builder: Any, condition: Any, yes: Any, no: Any) -> list[Any]:
    """What ``yes`` or ``no`` makes."""
    with builder.if_else(condition) as (then, otherwise):
        with then:
            first = yes()
            after_first = builder.block
        with otherwise:
            second = no()
            after_second = builder.block
    results = []
    for a, b in zip(first, second, strict=True):
        result = builder.phi(a.type)
        result.add_incoming(a, after_first)
        result.add_incoming(b, after_second)
        results.append(result)
    return results


def _row(
    builder: Any, w: Any, inside: bool, row: Any, column: Any, width: Any, count: Any, step: Any, apart: Any
) -> list[Any]:
    """As `row_of_windows`; the places are still offsets from each window's first column."""

    def pixels(offset: Any) -> list[Any]:
        at = builder.add(column, offset)
        if w.simd.step == 0 and inside:
            return [_load_spaced(builder, w, row, at, step)]
        if w.simd.step == 0:
            return [_load_spaced_visible(builder, w, row, at, step, width)]
        here = [at, builder.add(at, ir.Constant(_I64, w.simd.lanes))][: w.simd.step]
        loaded = [load(builder, w, row, at) if inside else load_visible(builder, w, row, at, width) for at in here]
        if w.simd.step == 1:
            return loaded
        # Two vectors hold two columns of windows that are two pixels apart.
        return [every_second(builder, w, loaded[0], loaded[1], first) for first in (0, 1)]

    def parts(vector: Any, offset: Any) -> list[Any]:
        return [vector, spread(builder, w, offset)] if w.simd.kind == PLACES else [vector]

    def number(value: int) -> Any:
        return ir.Constant(_I64, value)

    if w.simd.columns:
        found = []
        for first in range(0, w.simd.columns, max(1, w.simd.step)):
            vectors = pixels(number(first))[: w.simd.columns - first]
            found += [parts(vector, number(offset)) for offset, vector in enumerate(vectors, first)]
        return reduce(lambda before, after: merged(builder, w, before, after), found)
    variables = [cgutils.alloca_once_value(builder, part) for part in parts(pixels(number(0))[0], number(0))]
    with cgutils.for_range_slice(builder, number(1), count, number(1), _I64) as (s, _):
        offset = builder.mul(s, apart)
        before = [builder.load(variable) for variable in variables]
        after = merged(builder, w, before, parts(pixels(offset)[0], offset))
        for variable, part in zip(variables, after, strict=True):
            builder.store(part, variable)
    return [builder.load(variable) for variable in variables]


@intrinsic
def nothing(typing, w):
    """A state that nobody reads."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(context.get_value_type(state_of(w)), None)

    return state_of(w)(w), generate


@intrinsic
def ask(typing, w, address):
    """Ask for the ``w.ahead`` bytes of memory from ``address`` on."""

    def generate(context, builder, signature, arguments):
        byte = ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
        prefetch = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
        for line in range(w.simd.ahead // 64):
            pointer = builder.inttoptr(builder.add(arguments[1], ir.Constant(_I64, 64 * line)), byte)
            builder.call(prefetch, [pointer, *(ir.Constant(_I32, flag) for flag in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(w, intp), generate


@intrinsic
def merge(typing, w, before, after):
    """The state of all pixels of two states, those of ``before`` coming first."""

    def generate(context, builder, signature, arguments):
        before, after = (unpack(builder, w, state) for state in arguments[1:])
        return pack(context, builder, w, merged(builder, w, before, after))

    return state_of(w)(w, state_of(w), state_of(w)), generate


def interleaved(builder: Any, w: Any, a: Any, b: Any) -> list[Any]:
    """a[0], b[0], a[1], b[1], ..., in two vectors."""
    lanes = w.simd.lanes
    both = [i // 2 + (lanes if i % 2 else 0) for i in range(2 * lanes)]
    orders = [ir.Constant(ir.VectorType(_I32, lanes), half) for half in (both[:lanes], both[lanes:])]
    return [builder.shuffle_vector(a, b, order) for order in orders]


def write_visible(builder: Any, w: Any, values: Any, row: Any, column: Any, width: Any) -> None:
    """Store the values from element ``column`` of an array on, as far as they are in it; it is ``width`` long."""
    lanes, scalar = w.simd.lanes, values.type.element
    size = 8 if scalar == _I64 else w.simd.itemsize
    place = builder.gep(builder.inttoptr(row, scalar.as_pointer()), [column])
    pointer = builder.bitcast(place, values.type.as_pointer())

    def masked() -> None:
        mask = _visible(builder, w, column, width)
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


@intrinsic
def deliver(typing, w, state, out, indices, q, count, origin, divisors):
    """Write the results of windows from q on, up to window ``count``.

    out, indices: addresses of what belongs to a row of windows. origin: a pixel of the plane that no place comes
    before. divisors: the address of as many numbers as there are lanes.
    """

    def generate(context, builder, signature, arguments):
        _, state, out, indices, q, count, origin, divisors = arguments
        numbers, *places = unpack(builder, w, state)
        if w.simd.kind == AVERAGES:
            numbers = builder.fdiv(numbers, load(builder, w, divisors, ir.Constant(_I64, 0)))
        write_visible(builder, w, numbers, out, q, count)
        if places:
            # As they are they may have wrapped around; counted from the origin they are right.
            distance = widened(builder, builder.sub(places[0], spread(builder, w, origin)))
            index = builder.add(distance, broadcast_value(builder, origin, w.simd.lanes))
            write_visible(builder, w, index, indices, q, count)
        return context.get_dummy_value()

    return types.void(w, state_of(w), *[intp] * 6), generate
