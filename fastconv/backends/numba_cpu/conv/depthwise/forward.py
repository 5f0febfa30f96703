"""This algorithm convolves single channels at the speed of memory: a row's pixels are in the lanes, read in place.

    target[m, i, j]  =  bias[m] + sum over r, s of weight[m, r, s] * source[i * DI + dy[r], j * DJ + dx[s]]

Depthwise convolutions have one source channel in each group, so there is nothing to multiply as matrices: 9
multiply-adds for each pixel that is read and written. The rest of the work must cost less than that, so nothing is
copied: rows.py reads the pixels in place, and the weights stay in registers for a whole plane. A source row is read
once: its products are added to the sums of all lattice rows that it belongs to, which stay in registers too. The pixels
of 5 x 5 taps wouldn't: kept in their place, a plane of 14 x 14 took 1.7 times as long. If lattice points are two target
pixels apart, each vector of results is spread over two vectors.

On MobileNet's 3 x 3 layers of 56 and 14 pixels it has 2.1 and 3.7 times the speed of conv/direct/forward.py, which
copies the planes first (the bench's table of where each way wins).

A task is a number of planes, or a number of rows of one plane if planes are few. An activation that is more than limits
is applied to each plane while it is in a cache.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import Kernel, cgutils, compiled, inner, integers, intrinsic, types
from fastconv.backends.numba_cpu.conv.depthwise.arguments import PlaneArguments
from fastconv.backends.numba_cpu.conv.depthwise.rows import (
    COLUMN_WORDS,
    Shape,
    Taps,
    describe_columns,
    for_each_row,
    literals,
    rows_at_once,
)
from fastconv.backends.numba_cpu.gemm.packing import is_finite
from fastconv.backends.numba_cpu.simd import (
    Simd,
    bits_between,
    broadcast_value,
    call,
    clamped,
    element,
    load_integer,
    load_scalar,
    mask_of_bits,
    masked_store,
    multiply_add,
    prefetch_line,
    shuffled,
    store_scalar,
    vector_at,
)
from fastconv.backends.numba_cpu.simd.arguments import address_of_arguments
from fastconv.backends.numba_cpu.simd.task import task

_I64 = ir.IntType(64)


@intrinsic(prefer_literal=True)
def _convolve_rows(typing, simd, rows, columns, step, kept, target_step, values):
    """Emit the body of `convolve_kernel`."""
    shape = literals(rows, columns, step, kept, target_step)

    def generate(context, builder, signature, arguments):
        values = cgutils.unpack_tuple(builder, arguments[6], 12)
        source, args, offsets, nowhere, table, weights, bias, target, bits, first, end, distance = values
        taps = Taps(builder, simd, shape, source, args, offsets, nowhere, table, distance)
        lanes = simd.simd.lanes

        def spread(base: Any, index: int) -> Any:
            return broadcast_value(builder, builder.load(element(builder, simd, base, ir.Constant(_I64, index))), lanes)

        kernel = [[spread(weights, taps.columns * r + s) for s in range(taps.columns)] for r in range(taps.rows)]
        start, mask = spread(bias, 0), mask_of_bits(builder, lanes, bits)
        whole = builder.icmp_signed("==", bits, ir.Constant(_I64, (1 << lanes) - 1))
        lowest, highest = (spread(taps.argument(args, "limits"), 2 + i) for i in range(2))
        across = builder.mul(taps.argument(args, "YI"), taps.argument(args, "target_w"))

        ahead = taps.rows - taps.kept
        later = -(-taps.kept // ahead)

        def added(sums: list[Any], first: int, pixels: list[list[Any]]) -> list[Any]:
            """Add the products of source rows, from row ``first`` of the taps on, to those of this and later rows."""
            found = []
            for behind, before in enumerate(sums):
                total = before
                for r, row in enumerate(pixels, first - behind * ahead):
                    for s in range(taps.columns if r >= 0 else 0):
                        total = multiply_add(builder, kernel[r][s], row[s], total)
                found.append(total)
            return found

        def body(i: Any, pixels: list[list[Any]], sums: list[Any]) -> list[Any]:
            total, *following = added([*sums, start], taps.kept, pixels[taps.kept :])
            result, place = clamped(builder, total, lowest, highest), builder.mul(i, across)
            distant = builder.mul(builder.add(i, distance), across)
            for part in range(shape.target_step):
                there = builder.add(distant, ir.Constant(_I64, part * lanes))
                prefetch_line(builder, element(builder, simd, target, there), to_write=True)
            if shape.target_step == 1:
                # A store with a mask to a line that no cache holds keeps those behind it waiting.
                pointer = vector_at(builder, simd, target, place)
                with builder.if_else(whole) as (without_mask, with_mask):
                    with without_mask:
                        builder.store(result, pointer).align = simd.simd.itemsize
                    with with_mask:
                        masked_store(builder, result, pointer, mask, simd.simd.itemsize)
                return following
            for value, inside in _apart(builder, result, mask, shape.target_step):
                masked_store(builder, value, vector_at(builder, simd, target, place), inside, simd.simd.itemsize)
                place = builder.add(place, ir.Constant(_I64, lanes))
            return following

        for_each_row(taps, first, end, added([start] * later, 0, taps.rows_from(first, 0, taps.kept)), body)
        return context.get_dummy_value()

    return types.void(simd, rows, columns, step, kept, target_step, types.UniTuple(types.intp, 12)), generate


def _apart(builder: Any, value: Any, mask: Any, step: int) -> list[tuple[Any, Any]]:
    """Return ``step`` vectors with the lanes of ``value`` ``step`` apart, each with the mask of the lanes to write."""
    lanes = value.type.count
    found = []
    for part in range(step):
        # The lanes in between get 0 from an empty mask.
        order = [part * lanes // step + lane // step for lane in range(lanes)]
        chosen = [where if lane % step == 0 else lanes for lane, where in enumerate(order)]
        empty = ir.Constant(mask.type, None)
        found.append((shuffled(builder, value, value, order), shuffled(builder, mask, empty, chosen)))
    return found


@compiled
def convolve_kernel(simd: Simd, shape: Shape) -> Kernel:
    """Return the address of the kernel for a shape, which is compiled at the first call.

    It computes a vector of columns of a plane's rows ``first`` up to ``end``, at least one, and takes twelve integers:
    the addresses of a plane of the source, of the arguments, of the taps' rows, of a row of zeros, of the table of
    columns, of the weights and the bias, and of the first column in row 0 of the target; the mask of the lattice's
    columns to write; ``first`` and ``end``; and how many rows ahead to prefetch.
    """
    rows, columns, step, kept, target_step = shape

    def convolve_rows(source, args, offsets, nowhere, table, weights, bias, target, bits, first, end, ahead):
        values = source, args, offsets, nowhere, table, weights, bias, target, bits, first, end, ahead
        _convolve_rows(simd, rows, columns, step, kept, target_step, values)

    return integers(convolve_rows)


@task(PlaneArguments)
def convolve(simd, args, task, thread):
    """Convolve some planes of the source, or some rows of one plane."""
    groups, rows = args.groups, args.rows
    part, block = divmod(task, args.blocks)
    if args.N == 1:  # tasks in a row have the same pixels: see tuning/splitting.py
        block, part = divmod(task, (groups + args.task_planes - 1) // args.task_planes)
    first = part * args.task_planes
    end = min(args.N * groups, first + args.task_planes)
    first_row = block * args.block_rows
    end_row = min(args.I, first_row + args.block_rows)
    plane = args.H * args.W
    ready = ready_for_planes(simd, args, args.workspace + thread * args.thread_bytes)
    for each in range(first, end):
        n, group = divmod(each, groups)
        source = args.source + simd.itemsize * each * plane
        for m in range(rows):
            convolve_plane(simd, args, source, n, group, m, first_row, end_row, ready)


@inner
def ready_for_planes(simd, args, workspace):
    """Return what `convolve_plane` needs for each plane: three places in the workspace, and two numbers of rows."""
    weights = workspace + simd.itemsize * (args.W + 2 * simd.lanes)
    table = (weights + simd.itemsize * args.tap_count * simd.lanes + 63) // 64 * 64
    describe_columns(simd, args, workspace, table)
    rows, ahead = rows_at_once(simd, args)
    return workspace, weights, table, rows, ahead


@inner
def convolve_plane(simd, args, source, n, group, m, first_row, end_row, ready):
    """Convolve rows of the plane ``source``, the only one of a group in image n, to target channel m of the group."""
    nowhere, weights, table, rows_here, ahead = ready
    taps, columns, size, channel = args.tap_count, args.tap_columns, simd.itemsize, group * args.rows + m
    weight = args.weight + size * (group * args.weight_group + m * args.weight_row)
    if args.in_order == 0:
        for t in range(taps):
            store_scalar(simd, weights, t, load_scalar(simd, weight, load_integer(args.taps, 3 * t + 2)))
        weight = weights
    if not is_finite(simd, weight, taps):
        args.infinite = 1
    bias = args.bias + size * channel if args.bias != 0 else nowhere
    plane = args.target_h * args.target_w
    corner = args.Y0 * args.target_w + args.X0
    target = args.target + size * ((n * args.target_channels + channel) * plane + corner)
    for row in range(first_row, end_row, rows_here):
        stop = min(end_row, row + rows_here)
        for j in range(0, args.J, simd.lanes):
            here = table + 8 * COLUMN_WORDS * (j // simd.lanes * columns)
            bits = bits_between(simd, 0, args.J - j)
            there = target + size * args.XJ * j
            operands = source, address_of_arguments(args), args.tap_offsets, nowhere, here, weight, bias, there, bits
            call(args.kernel, (*operands, row, stop, ahead))
    if args.activation != 0:
        target += size * first_row * args.target_w
        count = (end_row - first_row) * args.target_w
        call(args.activation, (target, count, 1, count))
