"""This file has the kernels of gradients through max pooling, which takes one pixel of each 2 x 2 window: its argmax.

    grad_weight[k, :]          =  sum over n, u of grad[n, k, u] * patch(n, argmax(n, k, u))
    patch(n, argmax(n, k, u))  +=  grad[n, k, u] * weight[k, :]                      for all k and u: grad_x

u runs over the pooled pixels, argmax(n, k, u) is the index that pooling kept, and patch() all the source pixels under
the kernel there, as vectors: `tap rows` x `columns` of them, the vectors of a row side by side. Only the argmax pixels
have a gradient. So the gradient of a convolution's results, zero in three places of four, is neither made nor
multiplied by; where ReLU's result is 0 the fourth is zero too. For 3 x 3 taps this takes 2.25 multiplications a pixel
or fewer, the definition 9 and Winograd's algorithm 4, with nothing to transform.

The argmax pixels of a channel whose gradient isn't zero are listed first (listing.py). One kernel goes through such a
list with the sums of a patch in registers, the other with the weights. Both are bound by their loads and stores.

The idea to multiply only by the numbers that aren't zero is that of sparse matrices: F. Gustavson, "Two fast
algorithms for sparse matrices: multiplication and permuted transposition", ACM TOMS 4(3), 1978.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import Kernel, compiled, integers, intrinsic, types
from fastconv.backends.numba_cpu.simd import (
    Simd,
    broadcast_value,
    element,
    load_vector,
    multiply_add,
    store_vector,
    vector_of,
)
from fastconv.backends.numba_cpu.simd.instruction_set import InstructionSet

_I32, _I64 = ir.IntType(32), ir.IntType(64)

ENOUGH = 8
"""Number of sums that a kernel should have, so that no addition waits for the one before: two additions start in each
cycle, and each takes four cycles."""


def most_vectors(instructions: InstructionSet) -> int:
    """Return the most vectors of a patch in a kernel call.

    They take all registers but those for a gradient and the vectors that it is multiplied by.
    """
    return instructions.registers - 4


@compiled
def gather_kernel(simd: Simd, rows: int, columns: int) -> Kernel:
    """Return the address of the kernel of the weight gradient, which is compiled at the first call.

    It adds to the sums of ``rows`` x ``columns`` vectors of a patch, and takes six integers:

        count             argmax pixels in the list
        numbers, places   addresses of the list's gradients, and of the places of its patches, 32-bit integers
        pixels            address of the pixels, from which places are counted
        step              elements from one row of a patch to the next
        sums              address of rows * columns vectors side by side, which are added to
    """

    def gather(count, numbers, places, pixels, step, sums):
        _gather(simd, rows, columns, count, numbers, places, pixels, step, sums)

    return integers(gather)


@compiled
def spread_kernel(simd: Simd, rows: int, columns: int) -> Kernel:
    """Return the address of the kernel of the input gradient, which is compiled at the first call.

    It adds to the pixels of patches of ``rows`` x ``columns`` vectors, and takes the six integers of `gather_kernel`,
    but as the last one the address of the weights, rows * columns vectors side by side.
    """

    def spread(count, numbers, places, pixels, step, weights):
        _spread(simd, rows, columns, count, numbers, places, pixels, step, weights)

    return integers(spread)


class _ArgmaxList:
    """Writes the instructions that read a list's gradients and find its patches, in a kernel under construction."""

    def __init__(self, builder: Any, simd: Any, shape: tuple[int, int], numbers: Any, places: Any, step: Any) -> None:
        self.builder, self.simd, self.shape = builder, simd, shape
        self._numbers, self._places = numbers, places
        self._row_steps = [builder.mul(step, ir.Constant(_I64, row)) for row in range(shape[0])]

    def number(self, u: Any) -> Any:
        """Return the gradient of argmax pixel ``u``, in every lane."""
        value = self.builder.load(element(self.builder, self.simd, self._numbers, u))
        return broadcast_value(self.builder, value, self.simd.simd.lanes)

    def patch(self, u: Any) -> list[Any]:
        """Return the places of the vectors of the patch of argmax pixel ``u``, row by row."""
        builder, lanes = self.builder, self.simd.simd.lanes
        begin = builder.load(builder.gep(builder.inttoptr(self._places, _I32.as_pointer()), [u]))
        begin = builder.zext(begin, _I64)
        rows = [builder.add(begin, step) for step in self._row_steps]
        return [builder.add(row, ir.Constant(_I64, lanes * column)) for row in rows for column in range(self.shape[1])]


def _loop(builder: Any, first: Any, end: Any, step: int, values: list[Any], body: Any) -> tuple[Any, list[Any]]:
    """Write a loop from ``first`` to ``end`` in whole steps.

    Return the first index that no whole step reached, and the values that ``body(u, values)`` returned last.
    """
    entry = builder.block
    test, inside, after = (builder.append_basic_block(name) for name in ("test", "body", "after"))
    builder.branch(test)
    builder.position_at_end(test)
    u = builder.phi(_I64)
    u.add_incoming(first, entry)
    so_far = [builder.phi(value.type) for value in values]
    following = builder.add(u, ir.Constant(_I64, step))
    builder.cbranch(builder.icmp_signed("<=", following, end), inside, after)
    builder.position_at_end(inside)
    new = body(u, so_far)
    u.add_incoming(following, builder.block)
    for phi, begin, result in zip(so_far, values, new, strict=True):
        phi.add_incoming(begin, entry)
        phi.add_incoming(result, builder.block)
    builder.branch(test)
    builder.position_at_end(after)
    return u, so_far


@intrinsic(prefer_literal=True)
def _gather(typing, simd, rows, columns, count, numbers, places, pixels, step, sums):
    """Write the kernel that `gather_kernel` describes."""
    shape = rows.literal_value, columns.literal_value
    vectors = shape[0] * shape[1]

    def generate(context, builder, signature, arguments):
        count, numbers, places, pixels, step, sums = arguments[3:]
        listed = _ArgmaxList(builder, simd, shape, numbers, places, step)
        most = most_vectors(simd.simd.instructions)
        together = 1
        while together * vectors < ENOUGH and 2 * together * vectors <= most:
            together *= 2

        def add_some(count: int) -> Any:
            def body(first: Any, totals: list[Any]) -> list[Any]:
                new = []
                for which in range(count):
                    u = builder.add(first, ir.Constant(_I64, which))
                    change = listed.number(u)
                    for v, place in enumerate(listed.patch(u)):
                        pixel = load_vector(builder, simd, pixels, place)
                        new.append(multiply_add(builder, change, pixel, totals[which * vectors + v]))
                return new

            return body

        goes = [ir.Constant(_I64, v * simd.simd.lanes) for v in range(vectors)]
        nothing = ir.Constant(vector_of(simd).llvm, None)
        totals = [load_vector(builder, simd, sums, place) for place in goes]
        totals += [nothing] * ((together - 1) * vectors)
        reached, totals = _loop(builder, ir.Constant(_I64, 0), count, together, totals, add_some(together))
        while len(totals) > vectors:
            half = len(totals) // 2
            totals = [builder.fadd(*pair) for pair in zip(totals[:half], totals[half:], strict=True)]
        if together > 1:
            _, totals = _loop(builder, reached, count, 1, totals, add_some(1))
        for place, total in zip(goes, totals, strict=True):
            store_vector(builder, simd, total, sums, place)
        return context.get_dummy_value()

    return types.void(simd, rows, columns, *[types.intp] * 6), generate


@intrinsic(prefer_literal=True)
def _spread(typing, simd, rows, columns, count, numbers, places, pixels, step, weights):
    """Write the kernel that `spread_kernel` describes."""
    shape = rows.literal_value, columns.literal_value

    def generate(context, builder, signature, arguments):
        count, numbers, places, pixels, step, weights = arguments[3:]
        listed = _ArgmaxList(builder, simd, shape, numbers, places, step)
        lanes, (height, width) = simd.simd.lanes, shape
        taps = [load_vector(builder, simd, weights, ir.Constant(_I64, t * lanes)) for t in range(height * width)]

        def body(u: Any, _: list[Any]) -> list[Any]:
            change, patch = listed.number(u), listed.patch(u)
            for row in range(height):
                some = range(row * width, (row + 1) * width)
                before = [load_vector(builder, simd, pixels, patch[t]) for t in some]
                for t, value in zip(some, before, strict=True):
                    store_vector(builder, simd, multiply_add(builder, change, taps[t], value), pixels, patch[t])
            return []

        _loop(builder, ir.Constant(_I64, 0), count, 1, [], body)
        return context.get_dummy_value()

    return types.void(simd, rows, columns, *[types.intp] * 6), generate
