"""The weight gradient is computed with pixels in the lanes: nothing is transposed or gathered.

    grad_weight[m, c]  =  sum over n, v of grad[n, m, v] * source[n, v + offset(c)],      c = (d, t)

Source and gradient are copied, a block of lattice rows at a time, into planes of the same width (forward.py); after
the ends of its rows the gradient is padded with zeros. Then both are read together, a vector of pixels at a time: the
kernel keeps one vector of partial sums in registers for each of ``rows`` x ``taps`` numbers of the weight gradient, and
adds up the vectors' lanes at the end of a block, in a tree that reduces many of them at once.

Each step loads rows + taps vectors for rows * taps multiply-adds; 4 x 6 with 512-bit vectors: 10 loads, of which
6 cross a cache line and count twice, for 24. A block of 36 steps spends 11% on its end, so blocks are as large as
the L2 cache allows.

The zeros in the gradient are multiplied by real pixels of the source. If such a pixel is infinite, the product is NaN;
so if the result has NaN, the plan computes it again by conv/implicit_gemm, which has no such products.

A task is a part of the batch's blocks for a block of target channels in one group; each part has a result of its own,
and these are added in order.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import Kernel, compiled, inner, integers, intrinsic, types
from fastconv.backends.numba_cpu.conv.direct.arguments import DirectArguments
from fastconv.backends.numba_cpu.conv.direct.forward import copy_planes
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
    element,
    lanes_between,
    load_integer,
    load_where,
    multiply_add,
    prefetch,
    store,
    store_scalar,
    vector_at,
    vector_of,
    zero,
    zeros,
)
from fastconv.backends.numba_cpu.simd.task import task

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def workspace_bytes(simd: Simd, channels: int, channel: int, rows: int, plane: int) -> int:
    """Return the size of a thread's workspace, in bytes.

    It holds the source's planes and what may be read after them, and the gradient's planes.
    """
    numbers = channels * channel + channel + 2 * simd.lanes + rows * (plane + simd.lanes)
    return -(-numbers * simd.itemsize // 64) * 64 + 128


@compiled
def kernel(simd: Simd, rows: int, taps: int) -> Kernel:
    """Return the address of the kernel for ``rows`` x ``taps`` sums, compiled at the first call.

    It takes seven integers. steps: vectors of pixels, at least 1. gradient, row: the address of the gradient's planes,
    and elements between those of two target channels. source, offsets: the address of the source's planes, and the
    address of the taps' indices in them. target, step: the address of the sums, which are added to, and elements
    between their rows.
    """

    def correlate(steps, gradient, row, source, offsets, target, step):
        _correlate(simd, rows, taps, steps, gradient, row, source, offsets, target, step)

    return integers(correlate)


@intrinsic(prefer_literal=True)
def _correlate(typing, simd, rows, taps, steps, gradient, row, source, offsets, target, step):
    """Emit the instructions of the kernel that `kernel` compiles."""
    M, T = rows.literal_value, taps.literal_value

    def generate(context, builder, signature, arguments):
        steps, gradient, row, source, offsets, target, step = arguments[3:]
        kind = vector_of(simd).llvm
        lanes = simd.simd.lanes
        places = [(m, t) for m in range(M) for t in range(T)]

        def number(value: int) -> Any:
            return ir.Constant(_I64, value)

        def load(base: Any, index: Any) -> Any:
            value = builder.load(vector_at(builder, simd, base, index))
            value.align = simd.simd.itemsize
            return value

        table = builder.inttoptr(offsets, _I64.as_pointer())
        begins = [builder.load(builder.gep(table, [number(t)])) for t in range(T)]
        before = builder.block
        loop, after = (builder.append_basic_block(name) for name in ("pixels", "finish"))
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(_I64)
        k.add_incoming(number(0), before)
        sums = {}
        for place in places:
            sums[place] = builder.phi(kind)
            sums[place].add_incoming(ir.Constant(kind, None), before)
        v = builder.mul(k, number(lanes))
        pixels = [load(source, builder.add(begin, v)) for begin in begins]
        new = {}
        for m in range(M):
            change = load(gradient, builder.add(builder.mul(row, number(m)), v))
            for t in range(T):
                new[m, t] = multiply_add(builder, change, pixels[t], sums[m, t])
        following = builder.add(k, number(1))
        k.add_incoming(following, loop)
        for place in places:
            sums[place].add_incoming(new[place], loop)
        builder.cbranch(builder.icmp_signed("<", following, steps), loop, after)

        builder.position_at_end(after)
        for first in range(0, len(places), lanes):
            some = places[first : first + lanes]
            totals = add_lanes(builder, [new[place] for place in some])
            for lane, (m, t) in enumerate(some):
                pointer = element(builder, simd, target, builder.add(builder.mul(step, number(m)), number(t)))
                total = builder.extract_element(totals, ir.Constant(_I32, lane))
                builder.store(builder.fadd(builder.load(pointer), total), pointer)
        return context.get_dummy_value()

    return types.void(simd, rows, taps, *[types.intp] * 7), generate


def add_lanes(builder: Any, vectors: list[Any]) -> Any:
    """Return a vector whose lane i is the sum of all lanes of ``vectors[i]``; there are at most lanes vectors.

    Each round halves the number of vectors: two are added after the halves of their blocks have been exchanged.
    """
    lanes = vectors[0].type.count
    zero_vector = ir.Constant(vectors[0].type, None)
    vectors = vectors + [zero_vector] * (lanes - len(vectors))
    block = lanes
    while len(vectors) > 1:
        # Vectors i and i + half hold their sums in blocks; the result holds both, in blocks half as long.
        half, block = len(vectors) // 2, block // 2
        low = [lane if not lane & block else lanes + lane - block for lane in range(lanes)]
        high = [lane + block if not lane & block else lanes + lane for lane in range(lanes)]
        masks = [ir.Constant(ir.VectorType(_I32, lanes), order) for order in (low, high)]
        joined = []
        for i in range(half):
            a, b = vectors[i], vectors[i + half]
            if b is zero_vector:
                shifted = builder.shuffle_vector(
                    a, a, ir.Constant(masks[0].type, [lane ^ block for lane in range(lanes)])
                )
                joined.append(a if a is zero_vector else builder.fadd(a, shifted))
            else:
                parts = [builder.shuffle_vector(a, b, mask) for mask in masks]
                joined.append(builder.fadd(*parts))
        vectors = joined
    return vectors[0]


@inner
def _copy_gradient(simd, args, n, group, first, end, first_row, rows, planes, plane):
    """Fill the planes of gradient channels ``first`` to ``end`` for ``rows`` rows; zeros follow the ends of rows.

    The next channel's rows lie a whole image further on, where the processor doesn't look ahead by itself, so they are
    prefetched: 3 to 64 channels, 3 x 3 with steps of 2, 224 x 224, 8 images takes 3.3 ms instead of 4.4.
    """
    I, J = args.I, args.J
    wide, channels = args.plane_w, args.rows
    gradient = args.grad
    for m in range(first, end):
        image = ((n * args.groups + group) * channels + m) * I + first_row
        for i in range(rows):
            for j in range(0, wide, simd.lanes):
                there = lanes_between(simd, 0, J - j)
                prefetch(simd, gradient, (image + I + i) * J + j)
                value = load_where(simd, gradient, (image + i) * J + j, there, zeros(simd))
                store(simd, planes, (m - first) * plane + i * wide + j, value)
        for at in range(rows * wide, plane, simd.lanes):
            store(simd, planes, (m - first) * plane + at, zeros(simd))


@task(DirectArguments)
def accumulate(simd, args, task, thread):
    """Compute one part of the batch for one block of target channels in one group."""
    rest, panel_block = divmod(task, args.panel_blocks)
    split, group = divmod(rest, args.groups)
    depth, channels = args.depth, args.rows
    columns = depth * args.tap_count
    tile_rows, tile_taps = args.tile_rows, args.tile_vectors
    first_channel = panel_block * args.block_panels * tile_rows
    end_channel = min(channels, first_channel + args.block_panels * tile_rows)
    I, wide = args.I, args.plane_w
    block_rows, channel = args.block_rows, args.channel
    blocks = args.blocks
    plane = (block_rows * wide + simd.lanes - 1) // simd.lanes * simd.lanes
    source = args.workspace + thread * args.thread_bytes
    beyond = depth * channel
    gradient = (source + simd.itemsize * (beyond + channel + 2 * simd.lanes) + 63) // 64 * 64
    kernels = args.kernel
    if args.splits > 1:
        whole = args.groups * channels * columns
        target = args.partial + simd.itemsize * split * whole
    else:
        target = args.target
    target += simd.itemsize * group * channels * columns
    for i in range(first_channel * columns, end_channel * columns):
        store_scalar(simd, target, i, zero(simd))
    # What is read after the last plane is multiplied by zeros, so it must be finite.
    for i in range(0, channel + simd.lanes, simd.lanes):
        store(simd, source, beyond + i, zeros(simd))

    first = split * args.split_steps
    end = min(args.N * blocks, first + args.split_steps)
    for unit in range(first, end):
        n, block = divmod(unit, blocks)
        first_row = block * block_rows
        rows = min(block_rows, I - first_row)
        copy_planes(simd, args, n, group, first_row, source)
        _copy_gradient(simd, args, n, group, first_channel, end_channel, first_row, rows, gradient, plane)
        steps = (rows * wide + simd.lanes - 1) // simd.lanes
        for m in range(first_channel, end_channel, tile_rows):
            for c in range(0, columns, tile_taps):
                # Four kernels: for whole tiles, for fewer taps, for fewer rows, and for both.
                edge = 2 * (m + tile_rows > end_channel) + (c + tile_taps > columns)
                here = gradient + simd.itemsize * (m - first_channel) * plane
                offsets = args.offsets + 8 * c
                sums = target + simd.itemsize * (m * columns + c)
                call(load_integer(kernels, edge), (steps, here, plane, source, offsets, sums, columns))
