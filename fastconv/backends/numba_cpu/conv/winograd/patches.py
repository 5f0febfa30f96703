"""Winograd's convolution transforms square patches of pixels, one patch to a lane.

A form's patches are m pixels apart and n = m + r - 1 wide, for r taps, so they overlap. They are numbered through the
images of the batch; the patch at (i, j) belongs to the lattice points from (m i, m j) up to (m i + m - 1, m j + m - 1).
A *chunk* is as many patches in sequence as a vector has lanes. It has a *span* for each row of patches that it meets:
with 56 pixels in a row, F(4 x 4) has one or two spans to 16 patches; with 14 pixels it has four.

The spans of a chunk are loaded as if their pixels lay side by side in one row, m vectors of them, each merged from
masked loads. Columns of patches are transformed first, while pixels still lie so: n columns of vectors instead of n
columns for each of the m pixels. Then the pixels of a row are separated into m vectors, in log2(m) rounds of shuffles.
The last r - 1 columns of a patch are the first ones of the next patch, moved by a lane, except at the ends of spans,
whose pixels are loaded besides. Pixels outside the image are lanes that no load writes, or come from a row of zeros; so
are lanes without a patch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import cgutils, inner, intrinsic, types
from fastconv.backends.numba_cpu.conv.winograd.arguments import FormSimd
from fastconv.backends.numba_cpu.conv.winograd.forms.additions import additions, emit
from fastconv.backends.numba_cpu.conv.winograd.forms.vectors import emit_factors, load_at, separated
from fastconv.backends.numba_cpu.simd import (
    bits_between,
    mask_of_bits,
    masked_load,
    prefetch_line,
    shuffled,
    store,
    store_integer,
    store_vector,
    vector_of,
    zeros,
)

_I64 = ir.IntType(64)

CHANNELS_AHEAD = 2
"""Distance of prefetches, in channels. Channels lie too far apart for the processor to see what is read next."""

# The integers of a chunk are the number of its spans, the lanes that end one, and then for each span, with n rows of
# m vectors that are read and m rows of m vectors that are written: the addresses of the n rows in the channel to be
# read; the bytes from each to the next channel; m masks; the place of the pixels behind its last patch, and two masks
# for them; the address of its first pixel in the target; the rows of pixels there; and m masks. Addresses are those
# that the chunk's first lane would have.


def word(builder: Any, base: Any, index: int) -> Any:
    """Return integer ``index`` of those at the address ``base``."""
    return builder.load(builder.gep(builder.inttoptr(base, _I64.as_pointer()), [ir.Constant(_I64, index)]))


def target_words(form: Any) -> int:
    """Return the index of the first of a span's integers that are about the target."""
    return int(2 * form.down.size + form.right.output + form.right.taps)


def for_spans(builder: Any, simd: Any, chunk: Any) -> Any:
    """Return a context in which instructions run for each span of a chunk; it gives the span's address."""

    @contextmanager
    def spans() -> Any:
        with cgutils.for_range(builder, word(builder, chunk, 0)) as loop:
            away = builder.mul(loop.index, ir.Constant(_I64, 8 * simd.simd.span_words))
            yield builder.add(builder.add(chunk, ir.Constant(_I64, 16)), away)

    return spans()


def load_spans(
    builder: Any,
    simd: Any,
    chunk: Any,
    rows: int,
    mask: int,
    address: Callable[[Any, int], Any],
    count: int | None = None,
    channel: Callable[[Any, int], Any] | None = None,
) -> list[Any]:
    """Return ``rows`` vectors, each merged from all spans of a chunk, with zeros where no span has a pixel.

    ``mask`` is the index of the mask among a span's integers, and ``count`` that of the number of its rows, if it may
    have fewer; ``address`` gives the address of a span's row. If ``channel`` gives the bytes to the next channel, the
    same pixels `CHANNELS_AHEAD` channels on are prefetched.
    """
    kind = vector_of(simd).llvm
    slots = [cgutils.alloca_once(builder, kind) for _ in range(rows)]
    for slot in slots:
        builder.store(ir.Constant(kind, None), slot)
    with for_spans(builder, simd, chunk) as span:
        bits = word(builder, span, mask)
        with builder.if_then(builder.icmp_signed("!=", bits, ir.Constant(_I64, 0))):
            lanes = mask_of_bits(builder, simd.simd.lanes, bits)
            for a, slot in enumerate(slots):
                there = lanes
                if count is not None:
                    exists = builder.icmp_signed(">", word(builder, span, count), ir.Constant(_I64, a))
                    there = mask_of_bits(builder, simd.simd.lanes, builder.select(exists, bits, ir.Constant(_I64, 0)))
                place = address(span, a)
                if channel is not None:
                    ahead = builder.mul(channel(span, a), ir.Constant(_I64, CHANNELS_AHEAD))
                    later = builder.inttoptr(builder.add(place, ahead), kind.as_pointer())
                    prefetch_line(builder, later, to_write=False)
                pointer = builder.inttoptr(place, kind.as_pointer())
                builder.store(masked_load(builder, pointer, there, builder.load(slot), simd.simd.itemsize), slot)
    return [builder.load(slot) for slot in slots]


@intrinsic
def _transform(typing, simd, chunk, scratch, target, step):
    """Write the products' factors of a vector of patches as vectors ``step`` elements apart, from ``target`` on.

    ``chunk`` is the address of the integers that describe the chunk; its addresses move on to the next channel. If the
    columns of patches don't fit the registers they go through ``scratch``, since a vector that LLVM puts on the stack
    crosses a cache line.
    """

    def generate(context, builder, signature, arguments):
        _, chunk, scratch, target, step = arguments
        form, lanes, size = simd.simd.form, simd.simd.lanes, simd.simd.itemsize
        n, m, across = form.down.size, form.right.output, form.right.size
        program, along_rows = additions(form.down.image), additions(form.right.image)
        kept = n * across > simd.simd.instructions.registers
        columns: list[list[Any]] = []

        def channel(span: Any, a: int) -> Any:
            return word(builder, span, n + a)

        def transform(mask: int, address: Callable[[Any, int], Any], channel: Any = None) -> None:
            values = emit(builder, program, load_spans(builder, simd, chunk, n, mask, address, channel=channel))
            if kept:
                for a, value in enumerate(values):
                    place = ir.Constant(_I64, lanes * (across * a + len(columns)))
                    store_vector(builder, simd, value, scratch, place)
            columns.append(values)

        for v in range(m):

            def beside(span: Any, a: int, v: int = v) -> Any:
                return builder.add(word(builder, span, a), ir.Constant(_I64, v * lanes * size))

            transform(2 * n + v, beside, channel)
        for k in range(form.right.taps - 1):

            def behind(span: Any, a: int, k: int = k) -> Any:
                place = builder.add(word(builder, span, 2 * n + m), ir.Constant(_I64, k * size))
                return builder.add(word(builder, span, a), place)

            transform(2 * n + m + 1 + k, behind)
        with for_spans(builder, simd, chunk) as span:
            for a in range(n):
                there = builder.add(word(builder, span, a), word(builder, span, n + a))
                builder.store(there, builder.gep(builder.inttoptr(span, _I64.as_pointer()), [ir.Constant(_I64, a)]))
        ends = mask_of_bits(builder, lanes, word(builder, chunk, 1))
        nothing = ir.Constant(vector_of(simd).llvm, None)

        def separate_row(a: int) -> list[Any]:
            row = [column[a] for column in columns]
            if kept:
                places = range(across * a, across * (a + 1))
                row = [load_at(builder, simd, scratch, ir.Constant(_I64, lanes), place) for place in places]
            pixels = separated(builder, row[:m])
            for k, last in enumerate(row[m:]):
                moved = shuffled(builder, pixels[k], nothing, list(range(1, lanes + 1)))
                pixels.append(builder.select(ends, last, moved))
            return emit(builder, along_rows, pixels)

        emit_factors(builder, simd, separate_row, lambda block: block.image, target, step)
        return context.get_dummy_value()

    return types.void(simd, *[types.intp] * 4), generate


@inner
def count_patches(simd, args):
    """Return the number of patches in all images."""
    I, J = args.I, args.J
    return args.N * ((I + simd.down - 1) // simd.down) * ((J + simd.right - 1) // simd.right)


def table_bytes(simd: FormSimd, chunks: int) -> int:
    """Return the bytes of zeros and of a table of chunks, which begins with the scratch memory of a transform."""
    zeros_bytes = simd.zero_vectors * simd.instructions.vector_bytes
    return zeros_bytes + 64 + 8 * (simd.scratch_words + simd.chunk_words * chunks)


@inner
def write_zeros(simd, nowhere):
    """Write the zeros that rows outside images are read from; return the address of the table, behind them."""
    numbers = simd.zero_vectors * simd.lanes
    for i in range(0, numbers, simd.lanes):
        store(simd, nowhere, i, zeros(simd))
    return (nowhere + simd.itemsize * numbers + 63) // 64 * 64


@inner
def chunk_at(simd, table, chunk):
    """Return the address of the integers of a chunk."""
    return table + 8 * (simd.scratch_words + simd.chunk_words * chunk)


@inner
def describe_chunks(simd, args, target, group, channels, first, counts, piece, nowhere, table):
    """Fill ``table`` with the chunks of patches from ``first`` on.

    ``counts`` are the number of patches and that of chunks, of which the last may have no patch. ``channels`` are the
    channel of the target pixels, in the images at the address ``target``, and the first channel of the source to be
    read. The ``piece`` of the kernel is given as (row, column) of its first tap; ``nowhere`` is the address of zeros.
    """
    high, side, lanes, size = simd.down, simd.right, simd.lanes, simd.itemsize
    (count, chunks), (row, channel) = counts, channels
    n, behind = high + simd.tap_rows - 1, 2 * (high + simd.tap_rows - 1) + side
    down, across = (args.I + high - 1) // high, (args.J + side - 1) // side
    image, rest = divmod(first, down * across)
    i, j = divmod(rest, across)
    for chunk in range(chunks):
        base = chunk_at(simd, table, chunk)
        most = min(lanes, count - chunk * lanes)
        lane, spans, ends = 0, 0, 0
        while lane < most:
            here = min(across - j, most - lane)
            span = base + 8 * (2 + simd.span_words * spans)
            y, x = high * i + piece[0] + args.first_y, side * j + piece[1] + args.first_x
            plane = ((image * args.groups + group) * args.depth + channel) * args.H
            begin, end = side * lane, side * (lane + here)
            for a in range(n):
                # A row outside the image is a row of zeros, the same in all channels.
                there = y + a >= 0 and y + a < args.H
                place = args.source + size * ((plane + y + a) * args.W + x - begin)
                store_integer(span, a, place if there else nowhere)
                store_integer(span, n + a, size * args.H * args.W if there else 0)
            for v in range(side):
                inside = max(begin, begin - x), min(end, begin - x + args.W)
                store_integer(span, 2 * n + v, bits_between(simd, inside[0] - v * lanes, inside[1] - v * lanes))
            last = lane + here - 1
            store_integer(span, behind, size * (end - last))
            for k in range(simd.tap_columns - 1):
                there = x + side * here + k >= 0 and x + side * here + k < args.W
                store_integer(span, behind + 1 + k, 1 << last if there else 0)
            ends |= 1 << last
            plane = image * args.target_channels + row
            at = span + 8 * (behind + simd.tap_columns)
            store_integer(at, 0, target + size * ((plane * args.I + high * i) * args.J + side * j - begin))
            store_integer(at, 1, args.I - high * i)
            end = min(end, begin + args.J - side * j)
            for v in range(side):
                store_integer(at, 2 + v, bits_between(simd, begin - v * lanes, end - v * lanes))
            spans += 1
            lane += here
            j += here
            if j == across:
                j = 0
                i += 1
                if i == down:
                    i = 0
                    image += 1
        store_integer(base, 0, spans)
        store_integer(base, 1, ends)


@inner
def read_patches(simd, first, end, chunks, table, width, target, step):
    """Transform the chunks' patches of channels ``first`` up to ``end`` into a matrix a product, one row a channel.

    The chunks are described from channel ``first`` on, or were read up to it.
    """
    for c in range(first, end):
        row = target + simd.itemsize * (c - first) * width
        for chunk in range(chunks):
            base = chunk_at(simd, table, chunk)
            _transform(simd, base, table, row + simd.itemsize * chunk * simd.lanes, step)
