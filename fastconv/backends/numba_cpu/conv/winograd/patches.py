"""Winograd's convolution transforms square patches of pixels: a vector's lanes hold a row of patches.

A form's patches are m pixels apart and n = m + 2 wide, so they overlap. They are numbered through the images of the
batch; the patch at (i, j) belongs to the lattice points from (m i, m j) up to (m i + m - 1, m j + m - 1). A vector ends
where a row of patches, or a block of them, ends: the patches fall into *chunks*. The lanes of a chunk's vector beyond
its patches are stored too, and the next chunk overwrites them, so rows of 4 or 7 patches are stored without gaps, like
those of 28; only behind the last chunk there is room for a vector's end.

Each of a chunk's n rows is loaded in m + 1 vectors, of the last of which two pixels are used. Columns of patches are
transformed first, while pixels still lie as in the image: (m + 1) columns of vectors instead of n. Then the pixels of a
row are separated into m vectors, in log2(m) rounds of shuffles; the last two columns are the first two, moved by a
lane. Pixels outside the image are lanes that a masked load leaves 0, or come from a row of zeros.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.jit import inner
from fastconv.backends.numba_cpu.conv.winograd.forms.additions import additions, emit, emit_products
from fastconv.backends.numba_cpu.simd import (
    bits_between,
    load_integer,
    load_vector,
    mask_of_bits,
    masked_load,
    shuffled,
    store_integer,
    store_vector,
    vector_at,
    vector_of,
)

_I64 = ir.IntType(64)

# The integers of a chunk, with n rows of m + 1 vectors that are read and m rows of m vectors that are written:
# its first lane; the addresses of the n rows in channel 0; the bytes from each to the next channel; m + 1 masks of
# columns; the address of its first pixel in the target; the rows of pixels in the target; m masks of columns.


def word(builder: Any, base: Any, index: int) -> Any:
    """Return integer ``index`` of the chunk that is described at ``base``."""
    return builder.load(builder.gep(builder.inttoptr(base, _I64.as_pointer()), [ir.Constant(_I64, index)]))


@intrinsic
def _transform(typing, simd, chunk, channel, target, step):
    """Write the products' factors of a vector of patches as vectors ``step`` elements apart, from ``target`` on.

    ``chunk`` is the address of the integers that describe the chunk.
    """

    def generate(context, builder, signature, arguments):
        _, chunk, channel, target, step = arguments
        form, lanes = simd.form, simd.simd.lanes
        n, m = form.size, form.output
        masks = [mask_of_bits(builder, lanes, word(builder, chunk, 1 + 2 * n + v)) for v in range(m + 1)]
        rows = []
        for a in range(n):
            away = builder.mul(channel, word(builder, chunk, 1 + n + a))
            rows.append(builder.add(word(builder, chunk, 1 + a), away))
        raw = load_masked(builder, simd, rows, masks)
        columns = [emit(builder, additions(form.image), column) for column in raw]
        numbers = []
        for a in range(n):
            *pixels, last = [column[a] for column in columns]
            separate = separated(builder, pixels)
            for k in range(form.taps - 1):
                order = [*range(1, lanes), lanes + k]
                separate.append(shuffled(builder, separate[k], last, order))
            numbers.append(emit(builder, additions(form.image), separate))
        store_all(builder, simd, emit_products(builder, form, lambda block: block.image, numbers), target, step)
        return context.get_dummy_value()

    return types.void(simd, *[intp] * 4), generate


def load_masked(builder: Any, simd: Any, rows: list[Any], masks: list[Any]) -> list[list[Any]]:
    """Load as many vectors as there are masks from each address in ``rows``; return them by columns."""
    lanes, nothing = simd.simd.lanes, ir.Constant(vector_of(simd).llvm, None)
    columns = []
    for v, mask in enumerate(masks):
        places = [vector_at(builder, simd, row, ir.Constant(_I64, v * lanes)) for row in rows]
        columns.append([masked_load(builder, place, mask, nothing, simd.simd.itemsize) for place in places])
    return columns


def separated(builder: Any, vectors: list[Any]) -> list[Any]:
    """Return vectors of the elements 0, m, 2 m ..., then 1, m + 1 ... of ``vectors``, m of them side by side."""
    if len(vectors) == 1:
        return vectors
    halves = []
    for first in range(2):
        order = list(range(first, 2 * vectors[0].type.count, 2))
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        halves.append(separated(builder, [shuffled(builder, a, b, order) for a, b in pairs]))
    return [vector for pair in zip(*halves, strict=True) for vector in pair]


def interleaved(builder: Any, vectors: list[Any]) -> list[Any]:
    """Return the vectors of which `separated` makes these."""
    if len(vectors) == 1:
        return vectors
    lanes = vectors[0].type.count
    found = []
    for even, odd in zip(*(interleaved(builder, vectors[first::2]) for first in range(2)), strict=True):
        for half in range(0, lanes, lanes // 2):
            order = [lane + side for lane in range(half, half + lanes // 2) for side in (0, lanes)]
            found.append(shuffled(builder, even, odd, order))
    return found


def store_all(builder: Any, simd: Any, vectors: list[Any], target: Any, step: Any) -> None:
    """Write vectors from ``target`` on, ``step`` elements apart."""
    for i, value in enumerate(vectors):
        store_vector(builder, simd, value, target, builder.mul(step, ir.Constant(_I64, i)))


def load_at(builder: Any, simd: Any, source: Any, step: Any, index: int) -> Any:
    """Return vector number ``index`` of those that lie ``step`` elements apart from ``source`` on."""
    return load_vector(builder, simd, source, builder.mul(step, ir.Constant(_I64, index)))


@inner
def count_patches(simd, args):
    """Return the number of patches in all images."""
    I, J = args.I, args.J
    return args.N * ((I + simd.side - 1) // simd.side) * ((J + simd.side - 1) // simd.side)


@inner
def describe_chunks(simd, args, target, group, row, first, count, down_by, right_by, nowhere, table):
    """Fill ``table`` with the chunks of patches ``first`` up to first + count; return the number of chunks.

    A chunk is a row of patches, at most a vector. Its target pixels are in channel ``row`` of the images at the address
    ``target``; ``nowhere`` is the address of zeros. Patches are read ``down_by`` rows below and ``right_by`` columns
    right of the place where the first taps read them.
    """
    H, W = args.H, args.W
    I, J = args.I, args.J
    side, n = simd.side, simd.side + simd.taps - 1
    down, across = (I + side - 1) // side, (J + side - 1) // side
    depth, groups = args.depth, args.groups
    channels = groups * args.rows
    source, size = args.source, simd.itemsize
    image, rest = divmod(first, down * across)
    i, j = divmod(rest, across)
    lane = 0
    chunks = 0
    while lane < count:
        here = min(simd.lanes, across - j, count - lane)
        base = table + 8 * simd.chunk_words * chunks
        y = side * i + down_by + args.first_y
        x = side * j + right_by + args.first_x
        plane = (image * groups + group) * depth * H
        store_integer(base, 0, lane)
        for a in range(n):
            # A row outside the image is a row of zeros, the same in all channels.
            there = y + a >= 0 and y + a < H
            store_integer(base, 1 + a, source + size * ((plane + y + a) * W + x) if there else nowhere)
            store_integer(base, 1 + n + a, size * H * W if there else 0)
        masks = 1 + 2 * n
        for v in range(side + 1):
            ahead = x + v * simd.lanes
            store_integer(base, masks + v, bits_between(simd, -ahead, W - ahead))
        place = masks + side + 1
        store_integer(base, place, target + size * (((image * channels + row) * I + side * i) * J + side * j))
        store_integer(base, place + 1, I - side * i)
        pixels = min(side * here, J - side * j)
        for v in range(side):
            store_integer(base, place + 2 + v, bits_between(simd, 0, pixels - v * simd.lanes))
        chunks += 1
        lane += here
        j += here
        if j == across:
            j = 0
            i += 1
            if i == down:
                i = 0
                image += 1
    return chunks


@intrinsic
def target_place(typing, simd, chunk):
    """Return the address of a chunk's first pixel in the first target channel."""

    def generate(context, builder, signature, arguments):
        return word(builder, arguments[1], target_words(simd.form))

    return intp(simd, intp), generate


def target_words(form: Any) -> int:
    """Return the index of the first of a chunk's integers that are about the target."""
    return int(1 + 2 * form.size + form.output + 1)


def target_masks(builder: Any, simd: Any, chunk: Any) -> list[list[Any]]:
    """Return the masks of a chunk's vectors of target pixels, by rows."""
    first, m, lanes = target_words(simd.form), simd.form.output, simd.simd.lanes
    rows = word(builder, chunk, first + 1)
    columns = [word(builder, chunk, first + 2 + v) for v in range(m)]
    found = []
    for a in range(m):
        there = builder.icmp_signed("<", ir.Constant(_I64, a), rows)
        bits = [builder.select(there, column, ir.Constant(_I64, 0)) for column in columns]
        found.append([mask_of_bits(builder, lanes, each) for each in bits])
    return found


@inner
def read_patches(simd, first, end, chunks, table, width, target, step):
    """Transform the chunks' patches of channels ``first`` up to ``end`` into a matrix a product, one row a channel."""
    for c in range(first, end):
        row = target + simd.itemsize * (c - first) * width
        for chunk in range(chunks):
            base = table + 8 * simd.chunk_words * chunk
            _transform(simd, base, c, row + simd.itemsize * load_integer(base, 0), step)
