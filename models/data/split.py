"""Half a data set, as files hold it."""

from __future__ import annotations

from typing import NamedTuple

from models.data.idx import Bytes


class Split(NamedTuple):
    """Images (N, H, W) and their labels (N,), unsigned bytes."""

    images: Bytes
    labels: Bytes
