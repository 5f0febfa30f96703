"""All shape arithmetic: output sizes, windows, flops and bytes, in frozen dataclasses.

No other file of the library computes an output size or a window. Names, here and in every kernel:

    N batch    C input channels    H W input height and width    G groups
    K output channels    R S kernel height and width    P Q output height and width

A window of the output pixel (p, q) covers the input pixels (h, w) with

    h = p * stride_h - pad_top  + r * dilation_h,    0 <= r < R
    w = q * stride_w - pad_left + s * dilation_w,    0 <= s < S

The arithmetic of convolutions is that of Dumoulin and Visin, "A guide to convolution arithmetic for deep
learning" (2016); the rule for ``ceil_mode`` is PyTorch's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

Pair = tuple[int, int]
"""Height and width."""

Sides = tuple[int, int, int, int]
"""Top, bottom, left, right."""


class ConvParameters(NamedTuple):
    """The normalised parameters that a convolution's caller chooses besides the shapes."""

    stride: Pair = (1, 1)
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


class PoolParameters(NamedTuple):
    """The normalised parameters that a pooling's caller chooses; the last two matter to averages alone."""

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None


def window_count(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    """Returns how many windows fit along one axis of ``size`` pixels padded by ``before`` and ``after``.

    Floor division, not truncation: a kernel larger than the padded axis gives 0 or less, never 1.
    """
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def pool_window_count(size: int, kernel: int, stride: int, dilation: int, padding: int, ceil_mode: bool) -> int:
    """Returns the count of `window_count` by torch's rule for ``ceil_mode``.

    With ``ceil_mode`` a last window may overhang the padded input, but one that would start beyond the input
    and its left padding is dropped.
    """
    overhang = stride - 1 if ceil_mode else 0
    count = window_count(size, kernel, stride, dilation, padding, padding + overhang)
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    return count


def same_padding(kernel: Pair, dilation: Pair) -> Sides:
    """Returns the four sides that keep the image's size at stride 1; an odd pixel goes to the end of its axis."""
    total_h = dilation[0] * (kernel[0] - 1)
    total_w = dilation[1] * (kernel[1] - 1)
    return total_h // 2, total_h - total_h // 2, total_w // 2, total_w - total_w // 2


def transposed_size(size: Pair, kernel: Pair, how: ConvParameters, output_padding: Pair) -> Pair:
    """Returns height and width of a transposed convolution's result: the input size of what it transposes."""
    stride, (top, bottom, left, right), dilation, _ = how
    return (
        (size[0] - 1) * stride[0] - top - bottom + dilation[0] * (kernel[0] - 1) + output_padding[0] + 1,
        (size[1] - 1) * stride[1] - left - right + dilation[1] * (kernel[1] - 1) + output_padding[1] + 1,
    )


@dataclass(frozen=True)
class Tap:
    """One element (r, s) of the kernel: the windows in which it meets a pixel, and those pixels."""

    r: int
    s: int
    windows: tuple[slice, slice]
    """Ranges of p and q, with step 1."""
    pixels: tuple[slice, slice]
    """Ranges of h and w, with the stride as step; as many pixels as ``windows``."""


def _tap_along_axis(offset: int, stride: int, windows: int, size: int) -> tuple[slice, slice]:
    first = max(0, -(offset // stride))
    last = min(windows, (size - 1 - offset) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    return slice(first, last), slice(first * stride + offset, (last - 1) * stride + offset + 1, stride)


def taps(
    size: Pair, kernel: Pair, windows: Pair, stride: Pair, before: Pair, dilation: Pair, first: Pair = (0, 0)
) -> Iterator[Tap]:
    """The kernel's elements in row-major order, those that meet no pixel left out.

    Within one tap no two windows share a pixel, so a whole tap can be read or added with one strided operation.
    ``before`` is the padding at the top and left. ``windows`` (P, Q) counts from the output pixel ``first`` on.
    """
    for r in range(kernel[0]):
        top = first[0] * stride[0] - before[0] + r * dilation[0]
        p, h = _tap_along_axis(top, stride[0], windows[0], size[0])
        for s in range(kernel[1]):
            left = first[1] * stride[1] - before[1] + s * dilation[1]
            q, w = _tap_along_axis(left, stride[1], windows[1], size[1])
            if p.stop and q.stop:
                yield Tap(r, s, (p, q), (h, w))


@dataclass(frozen=True)
class ConvGeometry:
    """A convolution's shapes and parameters, checked and normalised.

    ``x`` is (N, C, H, W), ``w`` is (K, C / G, R, S), ``y`` is (N, K, P, Q). Sizes are in pixels. N and C may be 0,
    all else is at least 1. With C = 0, ``y`` has no channels either.
    """

    N: int
    C: int
    H: int
    W: int
    K: int
    R: int
    S: int
    stride: Pair = (1, 1)
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    P: int = field(init=False, compare=False)
    Q: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        top, bottom, left, right = self.padding
        P = window_count(self.H, self.R, self.stride[0], self.dilation[0], top, bottom)
        Q = window_count(self.W, self.S, self.stride[1], self.dilation[1], left, right)
        object.__setattr__(self, "P", P)
        object.__setattr__(self, "Q", Q)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return self.N, self.C, self.H, self.W

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return self.K, self.C // self.groups, self.R, self.S

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        # torch's rule: from no channels come none.
        return self.N, self.K if self.C else 0, self.P, self.Q

    @property
    def columns_shape(self) -> tuple[int, int, int]:
        """Returns the shape of the column matrix, which has a column for each window: (N, C * R * S, P * Q)."""
        return self.N, self.C * self.R * self.S, self.P * self.Q

    def taps(self, first: Pair = (0, 0), windows: Pair | None = None) -> Iterator[Tap]:
        """The taps of ``windows`` (rows, columns) from the output pixel ``first`` on, by default of all; see `taps`."""
        before = (self.padding[0], self.padding[2])
        count = (self.P, self.Q) if windows is None else windows
        return taps((self.H, self.W), (self.R, self.S), count, self.stride, before, self.dilation, first)

    @property
    def flops(self) -> int:
        """Returns the floating-point operations of the forward pass, two a multiply-add; each gradient has as many."""
        return 2 * self.N * self.K * self.P * self.Q * (self.C // self.groups) * self.R * self.S

    def bytes(self, itemsize: int) -> int:
        """Returns the fewest bytes that must move: input, weight and output once each; ``itemsize`` in bytes."""
        image = self.N * self.C * self.H * self.W
        weight = self.K * (self.C // self.groups) * self.R * self.S
        return itemsize * (image + weight + self.N * self.K * self.P * self.Q)


@dataclass(frozen=True)
class PoolGeometry:
    """A pooling's shapes and parameters, checked and normalised.

    ``x`` is (N, C, H, W), ``y`` is (N, C, P, Q). ``padding`` is the same on opposite sides. The last two fields
    matter to average pooling alone. N may be 0; all other sizes are at least 1.
    """

    N: int
    C: int
    H: int
    W: int
    R: int
    S: int
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None
    P: int = field(init=False, compare=False)
    Q: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        sizes = zip((self.H, self.W), (self.R, self.S), self.stride, self.dilation, self.padding, strict=True)
        P, Q = (pool_window_count(*axis, self.ceil_mode) for axis in sizes)
        object.__setattr__(self, "P", P)
        object.__setattr__(self, "Q", Q)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return self.N, self.C, self.H, self.W

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        return self.N, self.C, self.P, self.Q

    @property
    def flops(self) -> int:
        """Returns the number of comparisons or additions: one for each element of each window."""
        return self.N * self.C * self.P * self.Q * self.R * self.S

    def bytes(self, itemsize: int) -> int:
        """Returns the fewest bytes that must move: input and output once each; ``itemsize`` in bytes."""
        return itemsize * self.N * self.C * (self.H * self.W + self.P * self.Q)

    def taps(self) -> Iterator[Tap]:
        """Yields what `taps` does."""
        windows = (self.P, self.Q)
        return taps((self.H, self.W), (self.R, self.S), windows, self.stride, self.padding, self.dilation)

    @property
    def divisors(self) -> np.ndarray:
        """Returns what the sum over each window is divided by to make its average, (P, Q) float64.

        ``count_include_pad`` counts the padding, but not what ``ceil_mode`` overhangs beyond it;
        ``divisor_override`` beats both.
        """
        return np.multiply.outer(*self.divisor_axes)

    @property
    def divisor_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns two float64 arrays, (P,) and (Q,), whose outer product is `divisors`."""
        if self.divisor_override is not None:
            return np.full(self.P, float(self.divisor_override)), np.ones(self.Q)
        rows = self._window_sizes(self.P, self.H, self.R, self.stride[0], self.padding[0])
        columns = self._window_sizes(self.Q, self.W, self.S, self.stride[1], self.padding[1])
        return rows, columns

    def _window_sizes(self, windows: int, size: int, kernel: int, stride: int, padding: int) -> np.ndarray:
        start = np.arange(windows, dtype=np.float64) * stride - padding
        end = np.minimum(start + kernel, size + padding)
        if not self.count_include_pad:
            start, end = np.maximum(start, 0), np.minimum(end, size)
        return end - start
