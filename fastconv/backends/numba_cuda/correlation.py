"""One sum computes both a convolution and its input gradient; this file says how each is written as that sum.

    y[n, g M + m, row(i), column(j)] = sum over d < D, r < R, s < S of
        w[w_first + g w_group + m w_row + d w_depth + r w_tap_row + s w_tap_column]
      * x[n, g D + d, i step_row + r tap_row + first_row, j step_column + s tap_column + first_column]

with row(i) = to_row + i by_row. Forward this is the definition. For the input gradient the pixels of the result fall
into stride x stride lattices: within one each pixel meets the same taps at neighbouring pixels of the gradient, so each
lattice is a sum of this form with a step of 1 (the sub-pixel view of Shi et al., "Is the deconvolution layer the same
as a convolutional layer?", 2016), and nothing is multiplied by the zeros that a stride would put in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd
from typing import NamedTuple

from fastconv.backends.numba_cuda.cores import covering
from fastconv.geometry import ConvGeometry


class Correlation(NamedTuple):
    """The integers of one such sum, of 64 bits each, as kernels take them."""

    N: int
    G: int
    M: int
    """Rows of the result in a group: its channels."""
    D: int
    """Channels of x in a group."""
    I: int
    J: int
    """The result's pixels."""
    R: int
    S: int
    H: int
    W: int
    """The size of x's planes."""
    first_row: int
    first_column: int
    step_row: int
    step_column: int
    tap_row: int
    tap_column: int
    P: int
    Q: int
    """The size of the result's planes."""
    to_row: int
    to_column: int
    by_row: int
    by_column: int
    w_first: int
    w_group: int
    w_row: int
    w_depth: int
    w_tap_row: int
    w_tap_column: int
    skips: int
    """1 if products outside x are left out, 0 if x counts as 0 there: only an infinite weight makes a difference."""

    @property
    def pixels(self) -> int:
        return self.N * self.I * self.J

    @property
    def terms(self) -> int:
        """Returns the number of products in each sum."""
        return self.D * self.R * self.S

    @property
    def flops(self) -> int:
        return 2 * self.pixels * self.G * self.M * self.terms

    @property
    def inside(self) -> bool:
        """Returns True if no product falls outside x."""
        rows = _reach(self.I, self.step_row, self.R, self.tap_row, self.first_row)
        columns = _reach(self.J, self.step_column, self.S, self.tap_column, self.first_column)
        return rows[0] >= 0 and rows[1] < self.H and columns[0] >= 0 and columns[1] < self.W

    @property
    def whole(self) -> bool:
        """Returns True if the sum fills the whole result."""
        return self.P == self.I and self.Q == self.J


def _reach(windows: int, step: int, taps: int, tap: int, first: int) -> tuple[int, int]:
    """Returns the least and the greatest pixel along one axis."""
    ends = (0, (taps - 1) * tap)
    return first + min(ends), first + (windows - 1) * step + max(ends)


def forward(g: ConvGeometry) -> Correlation:
    """Returns the sum of a convolution."""
    K, D = g.K // g.groups, g.C // g.groups
    taps = g.R * g.S
    top, _, left, _ = g.padding
    return Correlation(
        *(g.N, g.groups, K, D, g.P, g.Q, g.R, g.S, g.H, g.W),
        *(-top, -left, *g.stride, *g.dilation),
        *(g.P, g.Q, 0, 0, 1, 1),
        *(0, K * D * taps, D * taps, taps, g.S, 1),
        skips=0,
    )


def input_gradient(g: ConvGeometry) -> Iterator[Correlation]:
    """Yields the sums of the input gradient, one for each lattice; lattices that meet no tap have R or S of 0."""
    K, D = g.K // g.groups, g.C // g.groups
    taps = g.R * g.S
    top, _, left, _ = g.padding
    for row in range(min(g.stride[0], g.H)):
        i, r, rows, r_step, first_row = _lattice(row, g.H, g.R, g.stride[0], g.dilation[0], top)
        for column in range(min(g.stride[1], g.W)):
            j, s, columns, s_step, first_column = _lattice(column, g.W, g.S, g.stride[1], g.dilation[1], left)
            yield Correlation(
                *(g.N, g.groups, D, K, i, j, rows, columns, g.P, g.Q),
                *(first_row, first_column, 1, 1),
                *(-g.dilation[0] * r_step // g.stride[0], -g.dilation[1] * s_step // g.stride[1]),
                *(g.H, g.W, row, column, *g.stride),
                *(r * g.S + s, K * D * taps, taps, D * taps, r_step * g.S, s_step),
                skips=1,
            )


def _lattice(
    start: int, size: int, taps: int, stride: int, dilation: int, padding: int
) -> tuple[int, int, int, int, int]:
    """Returns for the pixels start, start + stride, ...: their number; their first tap, the number of taps and the step
    from one tap to the next; and the window that the first pixel meets by the first tap.
    """
    pixels = covering(size - start, stride)
    step = stride // gcd(stride, dilation)
    for tap in range(min(step, taps)):
        if (start + padding - tap * dilation) % stride == 0:
            return pixels, tap, covering(taps - tap, step), step, (start + padding - tap * dilation) // stride
    return pixels, 0, 0, step, 0
