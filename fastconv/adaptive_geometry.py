"""The shape arithmetic of adaptive pooling: the size of the result is given, the windows follow from it.

Along an axis of H pixels and P windows, window p covers the pixels

    floor(p * H / P) <= h < ceil((p + 1) * H / P),

so windows may overlap by a pixel, and differ by a pixel in length. Seen from the other side, pixel h lies in the
windows floor(h * P / H) <= p < ceil((h + 1) * P / H): the same rule, with pixels and windows exchanged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastconv.geometry import PoolGeometry


@dataclass(frozen=True)
class AdaptiveAxis:
    """The windows of adaptive pooling along one axis of ``size`` pixels.

    ``pixels`` lists the pixels of one window after another, each window filled up to ``kernel`` entries, so that plain
    pooling of the listed pixels with kernel and stride ``kernel`` is adaptive pooling.
    """

    size: int
    windows: int

    @property
    def divides(self) -> bool:
        """Whether the windows are uniform already, so that nothing needs to be listed."""
        return self.size % self.windows == 0

    @property
    def starts(self) -> np.ndarray:
        """(windows,) int64: the first pixel of each window."""
        return np.arange(self.windows) * self.size // self.windows

    @property
    def lengths(self) -> np.ndarray:
        """(windows,) int64: how many pixels each window covers."""
        return -(-(np.arange(self.windows) + 1) * self.size // self.windows) - self.starts

    @property
    def kernel(self) -> int:
        """The length of the longest window, in pixels.

        Window i begins r = i * size mod windows parts of a pixel late, and covers ceil((r + size) / windows) pixels.
        """
        latest = self.windows - math.gcd(self.size, self.windows)
        return -(-(latest + self.size) // self.windows)

    @property
    def pixels(self) -> np.ndarray:
        """(windows * kernel,) int64; short windows are filled up with their own last pixel."""
        offsets = np.minimum(np.arange(self.kernel), self.lengths[:, None] - 1)
        return (self.starts[:, None] + offsets).reshape(-1)

    @property
    def fillers(self) -> np.ndarray:
        """(windows,) bool: in which windows the last of ``pixels`` is a filler, which no other ever is."""
        return self.lengths < self.kernel


@dataclass(frozen=True)
class AdaptiveGeometry:
    """An adaptive pooling's shapes, checked.

    ``x`` is (N, C, H, W), ``y`` is (N, C, P, Q). Sizes are in pixels. N may be 0, all else is at least 1.
    """

    N: int
    C: int
    H: int
    W: int
    P: int
    Q: int

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return self.N, self.C, self.H, self.W

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        return self.N, self.C, self.P, self.Q

    @property
    def rows(self) -> AdaptiveAxis:
        return AdaptiveAxis(self.H, self.P)

    @property
    def columns(self) -> AdaptiveAxis:
        return AdaptiveAxis(self.W, self.Q)

    @cached_property
    def uniform(self) -> PoolGeometry | None:
        """The plain pooling that this is, where all windows are of one size; else None."""
        if self.H % self.P or self.W % self.Q:
            return None
        kernel = self.H // self.P, self.W // self.Q
        return PoolGeometry(self.N, self.C, self.H, self.W, *kernel, kernel)

    @property
    def exchanged(self) -> AdaptiveGeometry:
        """Pixels and windows exchanged: what each pixel of x gathers its gradient from."""
        return AdaptiveGeometry(self.N, self.C, self.P, self.Q, self.H, self.W)

    @property
    def divisor_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """(P,) and (Q,) float64, the heights and widths of the windows, as `PoolGeometry.divisor_axes`."""
        return self.rows.lengths.astype(np.float64), self.columns.lengths.astype(np.float64)

    def bytes(self, itemsize: int) -> int:
        """The fewest bytes that must move: input and output once each; ``itemsize`` in bytes."""
        return itemsize * self.N * self.C * (self.H * self.W + self.P * self.Q)
