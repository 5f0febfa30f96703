"""Many small maps as one image: in rows, with white lines between them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Maps = npt.NDArray[np.float32]
"""(n, height, width), or (n, height, width, 3) in colour."""


def montage(maps: Maps, columns: int) -> Maps:
    """Returns ``maps`` side by side, ``columns`` in a row; NaN between and after them, which leaves the picture white
    there.

    Maps of more than a few pixels are two pixels apart, small ones one: lines keep their proportion.
    """
    count, height, width = maps.shape[:3]
    gap = 1 + max(height, width) // 16
    rows = math.ceil(count / columns)
    whole = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, *maps.shape[3:]), np.nan, np.float32)
    for number, each in enumerate(maps):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        whole[top : top + height, left : left + width] = each
    return whole
