"""A batch is computed some images at a time where its values are large: each *slab* of images runs several operations.

The expanded images of MobileNetV2 would take 39 MB for a batch of 8, if a network were to keep them (expanded/).
Operation by operation such values go to memory and come back, which takes longer than to compute them; the 5 MB of one
image stay in a cache. Small values are better computed for all images together, since they fill more lanes then, and
read each weight once.

So the operations are cut into sections, each with its own number of images in a slab. A slab of a section is an outline
of its own, which reads and writes the images of the slab in values of the whole batch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fastconv.backends.network import (
    Arranged,
    Convolved,
    Mapped,
    Normed,
    Operation,
    Outline,
    Pooled,
    Reshaped,
    Transposed,
)

SLAB_BYTES = 4 << 20
"""Size limit of what an operation reads and writes for the images of a slab, in bytes."""

_BUSY = 16
"""Operations for each byte of its values from which on a convolution computes for longer than it waits for memory. It
is better done for all images: one image of 28 x 28 pixels takes twice as long by itself, 3 x 3 taps and 128 channels.
"""


@dataclass(frozen=True)
class Section:
    """A section is operations that run one slab of images after another."""

    images: int
    """The images of a slab."""
    outline: Outline
    """The operations, for the images of a slab."""
    sources: tuple[int, ...]
    """The whole network's values that the section is given."""
    results: tuple[int, ...]
    """The whole network's values that are the section's results."""


def sections(outline: Outline, itemsize: int) -> list[Section]:
    """Return the sections of an outline, in order."""
    batch, counts = outline.shapes[0][0], _counts(outline, itemsize)
    found: list[tuple[range, int]] = []
    for count, group in itertools.groupby(range(len(counts)), counts.__getitem__):
        first, *others = group
        numbers = range(first, first + 1 + len(others))
        # A slab of one operation would keep nothing in a cache for the next.
        images = count if sum(_computes(outline.operations[number]) for number in numbers) > 1 else batch
        if found and found[-1][1] == images:
            numbers = range(found.pop()[0].start, numbers.stop)
        found.append((numbers, images))
    return [_section(outline, numbers, count) for numbers, count in found]


def _computes(operation: Operation) -> bool:
    return not isinstance(operation, Arranged | Reshaped)


def _counts(outline: Outline, itemsize: int) -> list[int]:
    """Return for each operation how many images a slab has: a divisor of the batch, no more than later ones have."""
    batch = outline.shapes[0][0]
    found, most = [], batch
    if all(shape[0] == batch for shape in outline.shapes):
        for number in reversed(range(len(outline.operations))):
            fitting = _fitting(outline, number, itemsize)
            most = batch if fitting is None else min(most, fitting)
            found.append(max(count for count in range(1, most + 1) if batch % count == 0))
    return found[::-1] or [batch] * len(outline.operations)


def _fitting(outline: Outline, number: int, itemsize: int) -> int | None:
    """Return how many images of an operation fit into a slab, or None if its time goes into computing."""
    operation, batch = outline.operations[number], outline.shapes[0][0]
    if not _computes(operation):
        return batch
    values = {*operation.sources, outline.given + number}
    image = itemsize * sum(math.prod(outline.shapes[value][1:]) for value in values)
    match operation:
        case Convolved(block):
            flops = block.geometry.flops
        case Transposed(geometry):
            flops = geometry.flops
        case _:
            flops = 0
    if flops > _BUSY * batch * image:
        return None
    return max(1, min(batch, SLAB_BYTES // image))


def _section(outline: Outline, numbers: range, images: int) -> Section:
    """Return the section of some operations, with slabs of ``images`` images."""
    operations = outline.operations[numbers.start : numbers.stop]
    made = range(outline.given + numbers.start, outline.given + numbers.stop)
    sources = tuple(dict.fromkeys(_outside(operations, made)))
    read = {source for operation in outline.operations[numbers.stop :] for source in operation.sources}
    results = tuple([value for value in made if value in read or value in outline.results])
    names = {value: number for number, value in enumerate((*sources, *made))}
    shapes = tuple([(images, *outline.shapes[value][1:]) for value in names])
    parts = tuple([_part(operation, names, images) for operation in operations])
    wanted = tuple([names[value] for value in results])
    return Section(images, Outline(shapes, len(sources), parts, outline.parameters, wanted), sources, results)


def _outside(operations: Sequence[Operation], made: range) -> Iterator[int]:
    return (source for operation in operations for source in operation.sources if source not in made)


def _part(operation: Operation, names: dict[int, int], images: int) -> Operation:
    """Return an operation for the images of a slab, with the values named anew."""

    def named(value: int | None) -> int | None:
        return None if value is None else names[value]

    match operation:
        case Convolved(block, source):
            block = replace(block, geometry=replace(block.geometry, N=images))
            return replace(operation, block=block, source=names[source], residual=named(operation.residual))
        case Transposed(geometry, source):
            return replace(operation, geometry=replace(geometry, N=images), source=names[source])
        case Pooled(geometry, _, source):
            return replace(operation, geometry=replace(geometry, N=images), source=names[source])
        case Mapped(source, factors):
            return replace(operation, source=names[source], factors=named(factors), residual=named(operation.residual))
        case Arranged(channels):
            return Arranged(tuple([(names[value], first, count) for value, first, count in channels]))
        case Reshaped(source):
            return Reshaped(names[source])
        case Normed():
            raise TypeError("statistics are those of all images, so no slab has them")
