"""The column matrix stays within its bound, and slicing the work changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends.im2col import COLUMN_BYTES, Im2col
from fastconv.geometry import ConvGeometry

GEOMETRY = ConvGeometry(5, 4, 11, 9, 6, 3, 2, (2, 1), (1, 2, 1, 0), (1, 2), 2)


def test_default_bound() -> None:
    assert COLUMN_BYTES == 256 * 2**20
    assert Im2col().column_bytes == COLUMN_BYTES


@pytest.mark.parametrize("column_bytes", [1, 800, 2_000, 30_000, COLUMN_BYTES])
def test_slices_cover_the_work_within_the_bound(column_bytes: int, monkeypatch) -> None:
    g = GEOMETRY
    rng = np.random.default_rng(1)
    x, w, b = rng.standard_normal(g.input_shape), rng.standard_normal(g.weight_shape), rng.standard_normal(g.K)
    grad = rng.standard_normal(g.output_shape)
    whole, sliced = Im2col(), Im2col(column_bytes=column_bytes)
    sizes: list[int] = []
    monkeypatch.setattr(sliced, "_columns", lambda *args: _noted(Im2col._columns(*args), sizes))
    np.testing.assert_allclose(sliced.conv2d(x, w, b, g), whole.conv2d(x, w, b, g), rtol=1e-12)
    np.testing.assert_allclose(sliced.conv2d_weight(x, grad, g), whole.conv2d_weight(x, grad, g), rtol=1e-10)
    np.testing.assert_allclose(sliced.conv2d_input(grad, w, g), whole.conv2d_input(grad, w, g), rtol=1e-10)
    one_row = g.C * g.R * g.S * g.Q * 8
    assert max(sizes) <= max(column_bytes, one_row)
    if column_bytes == 1:
        assert sizes == [one_row] * (2 * g.N * g.P)  # the finest cut there is: one row of one image


def _noted(columns: np.ndarray, sizes: list[int]) -> np.ndarray:
    sizes.append(columns.nbytes)
    return columns
