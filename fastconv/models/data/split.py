"""A split is half a data set, as files hold it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastconv.models.data.idx import Bytes


class Split(NamedTuple):
    """Images of unsigned bytes, (N, H, W) or with their channels (N, C, H, W), and their labels (N,)."""

    images: Bytes
    labels: npt.NDArray[np.integer]
