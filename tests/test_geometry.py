"""Shape arithmetic against brute force: count the windows, list the pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fastconv.adaptive_geometry import AdaptiveAxis
from fastconv.geometry import ConvGeometry, PoolGeometry, pool_window_count, window_count


def test_window_count_is_what_fits() -> None:
    for size, kernel, stride, dilation, pad in itertools.product(range(1, 9), range(1, 5), range(1, 4), (1, 2), (0, 2)):
        reach = dilation * (kernel - 1) + 1
        starts = [start for start in range(0, size + 2 * pad, stride) if start + reach <= size + 2 * pad]
        assert max(window_count(size, kernel, stride, dilation, pad, pad), 0) == len(starts)


def test_a_kernel_too_large_gives_none() -> None:
    assert window_count(4, 3, 2, 2, 0, 0) == 0


def test_ceil_mode_drops_a_window_beyond_image_and_padding() -> None:
    assert pool_window_count(5, 2, 3, 1, 0, ceil_mode=True) == 2
    assert pool_window_count(4, 1, 3, 1, 0, ceil_mode=True) == 2
    assert pool_window_count(3, 1, 3, 1, 0, ceil_mode=True) == 1


@pytest.mark.parametrize("first", [(0, 0), (1, 0), (2, 3)], ids=str)
def test_taps_visit_each_pixel_of_each_window_once(first: tuple[int, int]) -> None:
    g = ConvGeometry(1, 1, 7, 6, 1, 3, 2, (2, 1), (2, 1, 1, 0), (1, 2))
    rows, columns = g.P - first[0], g.Q - first[1]
    expected = set()
    for p, q, r, s in itertools.product(range(rows), range(columns), range(g.R), range(g.S)):
        h, w = (p + first[0]) * 2 - 2 + r, (q + first[1]) - 1 + 2 * s
        if 0 <= h < g.H and 0 <= w < g.W:
            expected.add((p, q, r, s, h, w))
    visited = set()
    for tap in g.taps(first, (rows, columns)):
        windows = itertools.product(*(range(axis.start, axis.stop) for axis in tap.windows))
        pixels = itertools.product(*(range(axis.start, axis.stop, axis.step) for axis in tap.pixels))
        visited |= {(p, q, tap.r, tap.s, h, w) for (p, q), (h, w) in zip(windows, pixels, strict=True)}
    assert visited == expected


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("ceil_mode", [True, False])
def test_divisors_count_pixels(count_include_pad: bool, ceil_mode: bool) -> None:
    g = PoolGeometry(1, 1, 6, 7, 3, 2, (2, 2), (1, 1), (1, 1), ceil_mode, count_include_pad)
    low, rest = (-1, 1) if count_include_pad else (0, 0)
    for p, q in itertools.product(range(g.P), range(g.Q)):
        rows = [h for h in range(2 * p - 1, 2 * p + 2) if low <= h < 6 + rest]
        columns = [w for w in range(2 * q - 1, 2 * q + 1) if low <= w < 7 + rest]
        assert g.divisors[p, q] == len(rows) * len(columns)


def test_divisor_override() -> None:
    np.testing.assert_array_equal(PoolGeometry(1, 1, 4, 4, 2, 2, (2, 2), divisor_override=-3).divisors, [[-3, -3]] * 2)


def test_adaptive_windows_cover_what_torch_says() -> None:
    for size, windows in itertools.product(range(1, 14), range(1, 14)):
        axis = AdaptiveAxis(size, windows)
        spans = [range(i * size // windows, -(-(i + 1) * size // windows)) for i in range(windows)]
        assert axis.lengths.tolist() == [len(span) for span in spans]
        assert axis.kernel == max(axis.lengths)
        listed = axis.pixels.reshape(windows, axis.kernel)
        ends = np.where(axis.fillers, axis.kernel - 1, axis.kernel)
        assert [row[:end].tolist() for row, end in zip(listed, ends, strict=True)] == [list(span) for span in spans]
        assert all(row[-1] == span[-1] for row, span in zip(listed, spans, strict=True))


def test_flops_and_bytes() -> None:
    g = ConvGeometry(2, 6, 14, 14, 16, 5, 5, groups=2)
    assert (g.P, g.Q) == (10, 10)
    assert g.flops == 2 * 2 * 16 * 100 * 3 * 25
    assert g.bytes(4) == 4 * (2 * 6 * 196 + 16 * 3 * 25 + 2 * 16 * 100)
    pool = PoolGeometry(2, 3, 8, 8, 2, 2, (2, 2))
    assert pool.flops == 2 * 3 * 16 * 4
    assert pool.bytes(8) == 8 * 2 * 3 * (64 + 16)


def test_geometries_are_keys() -> None:
    a, b = (ConvGeometry(1, 2, 5, 5, 3, 3, 3, (1, 1), (1, 1, 1, 1)) for _ in range(2))
    assert a == b
    assert hash(a) == hash(b)
    assert a != ConvGeometry(1, 2, 5, 5, 3, 3, 3)
