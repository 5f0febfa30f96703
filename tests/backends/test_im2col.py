"""These tests see that the column matrix stays within its bound, and that slicing the work changes no result."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends import im2col
from fastconv.backends.im2col import COLUMN_BYTES, Im2col
from fastconv.geometry import ConvGeometry

GEOMETRY = ConvGeometry(5, 4, 11, 9, 6, 3, 2, (2, 1), (1, 2, 1, 0), (1, 2), 2)


def test_default_bound() -> None:
    assert COLUMN_BYTES == 256 * 2**20
    assert Im2col().column_bytes == COLUMN_BYTES


LINE = ConvGeometry(2, 3, 1, 500, 4, 1, 5, (1, 1), (0, 0, 2, 2))


@pytest.mark.parametrize("geometry", [GEOMETRY, LINE], ids=["images", "lines"])
@pytest.mark.parametrize("column_bytes", [1, 800, 2_000, 30_000, COLUMN_BYTES])
def test_parts_cover_the_work_within_the_bound(column_bytes: int, geometry: ConvGeometry, monkeypatch) -> None:
    g = geometry
    rng = np.random.default_rng(1)
    x, w, b = rng.standard_normal(g.input_shape), rng.standard_normal(g.weight_shape), rng.standard_normal(g.K)
    grad = rng.standard_normal(g.output_shape)
    whole, parted = Im2col(), Im2col(column_bytes=column_bytes)
    sizes: list[int] = []
    genuine = im2col.gather, im2col.scatter
    monkeypatch.setattr(im2col, "gather", lambda c, *rest: sizes.append(c.nbytes) or genuine[0](c, *rest))
    monkeypatch.setattr(im2col, "scatter", lambda x, c, *rest: sizes.append(c.nbytes) or genuine[1](x, c, *rest))
    results = parted.conv2d(x, w, b, g), parted.conv2d_weight(x, grad, g), parted.conv2d_input(grad, w, g)
    one_pixel = g.C * g.R * g.S * 8
    assert max(sizes) <= max(column_bytes, one_pixel)
    if column_bytes == 1:
        assert sizes == [one_pixel] * (3 * g.N * g.P * g.Q)  # the finest cut there is
    expected = whole.conv2d(x, w, b, g), whole.conv2d_weight(x, grad, g), whole.conv2d_input(grad, w, g)
    for result, right in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, right, rtol=1e-9, atol=1e-12)


def test_the_product_is_bounded_too(monkeypatch) -> None:
    """With many filters on one channel, the product of the matrices is larger than the columns, and is bounded too."""
    g = ConvGeometry(4, 1, 16, 16, 256, 1, 1)
    parts = list(Im2col(column_bytes=2**16)._parts(g, 4))
    pixels = [len(range(*p.rows.indices(g.P))) * len(range(*p.columns.indices(g.Q))) for p in parts]
    assert max(pixels) * g.K * 4 <= 2**16
    assert sum(pixels) == g.N * g.P * g.Q
