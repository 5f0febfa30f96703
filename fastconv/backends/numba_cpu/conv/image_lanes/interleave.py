"""These functions move images into the lanes of vectors and back: pixel p of as many images as lanes is one vector.

NCHW has an image's pixels side by side and the images far apart. A square of lanes x lanes numbers, as many pixels of
as many images, is loaded image by image and transposed in registers: some 8 cycles a vector. Missing images of the last
vector are read as zeros and not written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

from fastconv.backends.compiler import inner, intrinsic, types
from fastconv.backends.numba_cpu.simd import (
    load_scalar,
    load_vector,
    mask_between,
    masked_load,
    masked_store,
    prefetch_line,
    store,
    store_scalar,
    store_vector,
    transposed,
    vector_at,
    vector_of,
    zeros,
)

if TYPE_CHECKING:
    from fastconv.backends.numba_cpu.simd.numba_types import SimdType

_I64 = ir.IntType(64)

_AHEAD = ir.Constant(_I64, 4)
"""Distance of prefetches, in vectors: sixteen images are too many rows for the processor to see what is read next."""


def _images(builder: Any, simd: SimdType, base: Any, image_step: Any, images: Any, count: Any) -> list[tuple[Any, Any]]:
    """Return, for each lane, a pointer to the first vector of its image and the mask of its pixels.

    A missing image has an empty mask and the first image's address: at an unmapped address even a load with an empty
    mask takes hundreds of cycles.
    """
    lanes = simd.simd.lanes
    nothing = ir.Constant(_I64, 0)
    wanted = mask_between(builder, lanes, nothing, count)
    found = []
    for i in range(lanes):
        there = builder.icmp_signed("<", ir.Constant(_I64, i), images)
        place = builder.select(there, builder.mul(image_step, ir.Constant(_I64, i)), nothing)
        mask = builder.select(there, wanted, ir.Constant(wanted.type, None))
        found.append((vector_at(builder, simd, base, place), mask))
    return found


@intrinsic
def _interleave(typing, simd, source, image_step, images, count, target):
    """Write the first ``count`` pixels, at most a vector, of ``images`` images as vectors, as many as there are lanes.

    Other pixels and images give zeros. Images are ``image_step`` elements apart from ``source`` on; vectors are written
    side by side.
    """

    def generate(context, builder, signature, arguments):
        _, source, image_step, images, count, target = arguments
        nothing = ir.Constant(vector_of(simd).llvm, None)
        rows = []
        for pointer, mask in _images(builder, simd, source, image_step, images, count):
            prefetch_line(builder, builder.gep(pointer, [_AHEAD]), to_write=False)
            rows.append(masked_load(builder, pointer, mask, nothing, simd.simd.itemsize))
        for i, row in enumerate(transposed(builder, rows)):
            store_vector(builder, simd, row, target, ir.Constant(_I64, i * simd.simd.lanes))
        return context.get_dummy_value()

    return types.void(simd, *[types.intp] * 5), generate


@intrinsic
def _separate(typing, simd, source, count, target, image_step, images):
    """Write ``count`` vectors, at most as many as lanes, as pixels of each image: the inverse of `_interleave`."""

    def generate(context, builder, signature, arguments):
        _, source, count, target, image_step, images = arguments
        lanes = simd.simd.lanes
        rows = [load_vector(builder, simd, source, ir.Constant(_I64, i * lanes)) for i in range(lanes)]
        places = _images(builder, simd, target, image_step, images, count)
        for row, (pointer, mask) in zip(transposed(builder, rows), places, strict=True):
            prefetch_line(builder, builder.gep(pointer, [_AHEAD]), to_write=True)
            masked_store(builder, row, pointer, mask, simd.simd.itemsize)
        return context.get_dummy_value()

    return types.void(simd, *[types.intp] * 5), generate


@inner
def interleave(simd, source, image_step, images, count, target):
    """Write ``count`` pixels side by side, of ``images`` images, as vectors side by side.

    Vectors of zeros follow up to the next multiple of the lanes.
    """
    for p in range(0, count, simd.lanes):
        there = min(simd.lanes, count - p)
        here = target + simd.itemsize * p * simd.lanes
        _interleave(simd, source + simd.itemsize * p, image_step, images, there, here)


@inner
def separate(simd, source, count, target, step, image_step, images):
    """Write ``count`` vectors as pixels of ``images`` images: pixels are ``step`` apart, images ``image_step``.

    Vectors are read up to the next multiple of the lanes.
    """
    if step == 1:
        for p in range(0, count, simd.lanes):
            there = min(simd.lanes, count - p)
            here = source + simd.itemsize * p * simd.lanes
            _separate(simd, here, there, target + simd.itemsize * p, image_step, images)
    else:
        for n in range(images):
            for p in range(count):
                value = load_scalar(simd, source, p * simd.lanes + n)
                store_scalar(simd, target, n * image_step + p * step, value)


@inner
def clear(simd, target, count):
    """Write ``count`` vectors of zeros."""
    for i in range(count):
        store(simd, target, i * simd.lanes, zeros(simd))
