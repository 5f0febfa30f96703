"""How a network is cut into sections: the images of each slab, and what sections read and give."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends.block import Block
from fastconv.backends.network import Arranged, Convolved, Mapped, Operation, Outline
from fastconv.backends.numba_cpu.fused.network.slabs import SLAB_BYTES, sections
from fastconv.geometry import ConvGeometry

SIZE = np.dtype(np.float32).itemsize


def _convolved(batch: int, channels: int, filters: int, side: int, groups: int, source: int) -> Convolved:
    kernel = 3 if groups > 1 else 1
    around = (kernel // 2,) * 4
    geometry = ConvGeometry(batch, channels, side, side, filters, kernel, kernel, (1, 1), around, (1, 1), groups)
    return Convolved(Block(geometry, "relu6", None), source, 0, None)


def _outline(
    batch: int, side: int, operations: list[Operation], channels: list[int], results: tuple[int, ...]
) -> Outline:
    shapes = tuple([(batch, each, side, side) for each in channels])
    return Outline(shapes, 1, tuple(operations), 1, results)


def _bottleneck(batch: int, side: int) -> Outline:
    """An expansion, a depthwise convolution, a projection."""
    operations: list[Operation] = [
        _convolved(batch, 16, 96, side, 1, 0),
        _convolved(batch, 96, 96, side, 96, 1),
        _convolved(batch, 96, 16, side, 1, 2),
    ]
    return _outline(batch, side, operations, [16, 96, 96, 16], (3,))


def test_large_planes_are_done_image_by_image_and_small_ones_together() -> None:
    for side, images in ((112, 1), (40, 3), (7, 6)):
        found = sections(_bottleneck(6, side), SIZE)
        assert [(section.images, section.sources, section.results) for section in found] == [(images, (0,), (3,))]
        assert {shape[0] for shape in found[0].outline.shapes} == {images}


def test_a_slab_is_a_divisor_of_the_batch_and_fits() -> None:
    for batch in range(1, 13):
        for side in (20, 30, 40):
            for section in sections(_bottleneck(batch, side), SIZE):
                assert batch % section.images == 0
                if len(section.sources + section.results) < len(section.outline.shapes):
                    assert section.images in (1, batch) or section.images * 2 * 96 * side * side * SIZE <= SLAB_BYTES


def test_values_that_later_sections_read_are_results() -> None:
    """A busy convolution, in between, is done for the whole batch; a concatenation belongs to what reads it."""
    busy = _convolved(4, 192, 192, 56, 1, 3)
    assert busy.block.geometry.flops > 16 * 4 * 2 * 192 * 56 * 56 * SIZE
    operations: list[Operation] = [
        _convolved(4, 16, 96, 56, 1, 0),
        _convolved(4, 96, 96, 56, 96, 1),
        Arranged(((1, 0, 96), (2, 0, 96))),
        busy,
        Mapped(4, residual=3),
        Mapped(5, residual=1),
    ]
    outline = _outline(4, 56, operations, [16, 96, 96, 192, 192, 192, 96], (6,))
    first, second, third = sections(outline, SIZE)
    assert (first.images, first.sources, first.results) == (1, (0,), (1, 2))
    assert (second.images, second.sources, second.results) == (4, (1, 2), (3, 4))
    assert (third.images, third.sources, third.results) == (1, (4, 3, 1), (6,))
    assert third.outline.operations == (Mapped(0, residual=1), Mapped(3, residual=2))


def test_a_single_operation_is_no_slab() -> None:
    outline = _outline(4, 112, [_convolved(4, 16, 96, 112, 1, 0)], [16, 96], (1,))
    assert [section.images for section in sections(outline, SIZE)] == [4]


@pytest.mark.parametrize("batch", [1, 8])
def test_images_of_several_batches_are_not_cut(batch: int) -> None:
    outline = Outline(((batch, 96, 112, 112), (batch + 1, 96, 112, 112)), 1, (Mapped(0),), 0, (1,))
    assert [section.images for section in sections(outline, SIZE)] == [batch]
