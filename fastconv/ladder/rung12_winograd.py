"""Rung 12: fewer products than the definition has, Winograd's F(2x2, 3x3).

Two neighbouring results of a line of three taps take 6 products. With sums of pixels and of weights 4 are enough:

    m0 = (d0 - d2) g0,   m1 = (d1 + d2) (g0 + g1 + g2) / 2,   m2 = (d2 - d1) (g0 - g1 + g2) / 2,   m3 = (d1 - d3) g2
    y0 = m0 + m1 + m2,   y1 = m1 - m2 - m3

Done along rows and along columns, 4 results take 16 products instead of 36: 2.25 times fewer (Lavin and Gray, 2016).
The sums of weights are made once; those of pixels once for all K filters; and the products are added up over channels
before the sums of the m are made. So the sum over channels is 16 products of matrices, by the tiles of rung 06:

    V[e] (D, tiles) = sums of the pixels of 4 x 4 windows, 2 apart         4 numbers for each pixel
    M[e] (K, tiles) = U[e] (K, D) @ V[e]       e = 0 ... 15               2 * 16 K D flops for 4 results, not 2 * 36
    y = sums of M[e]

The share of the peak is counted by the definition's flops, so it may be more than 100%.

What it costs: V and M are written and read (4 times the image and 4 times the result); results are rounded in other
places; stride 1 and 3x3 only; and a NaN or infinity spreads over a tile of 4 results, since y0 = m0 + m1 + m2 contains
d1 more than once. Where a result isn't finite, the definition (rung 02) does the whole layer again.

Exercise: write d1's coefficient in y0 out by hand. Why is it exactly g1, and what becomes of it if d3 is infinite?
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fastconv.backends.jit import jit
from fastconv.backends.quiet import QUIET
from fastconv.geometry import ConvGeometry
from fastconv.ladder import rung02_compiled
from fastconv.ladder.rung03_padded import padded
from fastconv.ladder.rung06_registers import make
from fastconv.ladder.tile import packed, started, tile_shape

IDEA = "Winograd: 16 products instead of 36"

BAND = 14
"""Rows of tiles that are done together: at 56 x 56 with 64 channels V and M take 1.7 MB each. Fewer rows mean more
calls and more half-filled tiles of sums (4 rows 210, 7 rows 235, 14 rows 255 GFLOP/s); more would take more memory."""

PAIRS = ((0, 2, -1), (1, 2, 1), (2, 1, -1), (1, 3, -1))
"""The sums of pixels: d0 - d2, d1 + d2, d2 - d1 and d1 - d3."""


def refuses(g: ConvGeometry) -> str | None:
    """Returns why it can't do a layer, or None."""
    if (g.R, g.S) == (3, 3) and g.stride == g.dilation == (1, 1) and g.groups == 1:
        return None
    return "it is for 3x3 kernels with stride 1, dilation 1 and one group: other layers need ladder:09"


def of_weights(w: np.ndarray) -> np.ndarray:
    """Returns the four sums of the weights along the last axis, as a first axis."""
    g0, g1, g2 = w[..., 0], w[..., 1], w[..., 2]
    return np.stack([g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2])


def of_pixels(image, first, quarters, v):
    """Writes v (16, C, T), from row ``first`` on, by way of the pixels of even and odd rows and columns."""
    C, _, pitch = image.shape
    wide, T = pitch // 2, v.shape[2]
    for c in range(C):
        for i in range(T // wide * 2 + 2):
            for j in range(wide):
                quarters[i % 2 * 2, i // 2 * wide + j] = image[c, first + i, 2 * j]
                quarters[i % 2 * 2 + 1, i // 2 * wide + j] = image[c, first + i, 2 * j + 1]
        for e in range(16):
            (r0, r1, sign_r), (s0, s1, sign_s) = PAIRS[e // 4], PAIRS[e % 4]
            down, across = v.dtype.type(sign_r), v.dtype.type(sign_s)  # an integer would make float64 of the products
            d00 = quarters[r0 % 2 * 2 + s0 % 2, r0 // 2 * wide + s0 // 2 :]
            d01 = quarters[r0 % 2 * 2 + s1 % 2, r0 // 2 * wide + s1 // 2 :]
            d10 = quarters[r1 % 2 * 2 + s0 % 2, r1 // 2 * wide + s0 // 2 :]
            d11 = quarters[r1 % 2 * 2 + s1 % 2, r1 // 2 * wide + s1 // 2 :]
            into = v[e, c]
            for t in range(T):
                into[t] = d00[t] + across * d01[t] + down * (d10[t] + across * d11[t])


def of_products(m, b, y, p0, sums, wide, T):
    """Writes rows of y (K, ...) from p0 on, from m (16, K, T and beyond); sums has room for (2, 4, T)."""
    for k in range(len(y)):
        for s in range(2):
            sign = y.dtype.type(1 - 2 * s)
            for a in range(4):
                first, second, third, into = m[4 * a + s, k], m[4 * a + s + 1, k], m[4 * a + s + 2, k], sums[s, a]
                for t in range(T):
                    into[t] = first[t] + sign * (second[t] + third[t])
        for a in range(2):
            sign = y.dtype.type(1 - 2 * a)
            for s in range(2):
                into, second, third = sums[s, a], sums[s, a + 1], sums[s, a + 2]
                for t in range(T):
                    into[t] = b[k] + (into[t] + sign * (second[t] + third[t]))
            for i in range(T // wide):
                row, even, odd = y[k, p0 + 2 * i + a], sums[0, a, i * wide :], sums[1, a, i * wide :]
                for j in range(row.size // 2):
                    row[2 * j], row[2 * j + 1] = even[j], odd[j]


pixels_in, products_out = jit(of_pixels, error_model="numpy"), jit(of_products, error_model="numpy")


@QUIET
def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns y (N, K, P, Q) from x (N, C, H, W), w (K, C, 3, 3) and b (K,)."""
    top, bottom, left, right = g.padding
    images, _ = padded(x, replace(g, padding=(top, bottom + g.P % 2, left, right + g.Q % 2)))
    rows, width = tile_shape(x.dtype)
    high, wide = -(-g.P // 2), images.shape[3] // 2
    whole = BAND * wide  # one column of tiles more than there are, so that all of a band are one row
    weights = packed(of_weights(of_weights(w)).reshape(16 * g.K, g.C), 16, rows)
    v = np.zeros(16 * g.C * whole + width, x.dtype)
    m = started(np.zeros(16 * g.K, x.dtype), 16, rows, 1, whole + width)
    quarters, sums = np.zeros((4, whole + 2 * wide), x.dtype), np.zeros((2, 4, whole), x.dtype)
    y = np.empty((g.N, g.K, 2 * high, g.Q + g.Q % 2), x.dtype)
    for n, image in enumerate(images):
        for i in range(0, high, BAND):
            T = min(BAND, high - i) * wide
            pixels_in(image, 2 * i, quarters, v[: 16 * g.C * T].reshape(16, g.C, T))
            m[...] = 0
            make(rows, width)(v, np.arange(g.C) * T, weights, m, T, 0, g.C * T)
            products_out(m[0], b, y[n], 2 * i, sums, wide, T)
    y = y[:, :, : g.P, : g.Q]
    return y if np.isfinite(y.sum()) else rung02_compiled.conv2d(x, w, b, g)


def kernel(dtype: np.dtype[Any]) -> Any:
    """Returns the compiled function that the time goes into."""
    return make(*tile_shape(dtype))
