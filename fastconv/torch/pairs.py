"""Poolings of 2 x 2 windows, side by side, which run together with the convolution before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastconv.backends.block import Pooling


def pooling_in_pairs(how: Mapping[str, Any]) -> Pooling | None:
    """Returns which pooling of 2 x 2 windows has these arguments, or None for one of other windows.

    Args:
        how: the arguments of torch's max_pool2d or avg_pool2d by their names, or the attributes of such a layer.
    """
    kernel, stride = _pair(how["kernel_size"]), how["stride"]
    steps = kernel if stride in (None, (), []) else _pair(stride)
    if (kernel, steps, _pair(how["padding"])) != ((2, 2), (2, 2), (0, 0)) or how["ceil_mode"]:
        return None
    if "dilation" in how:
        return "max" if _pair(how["dilation"]) == (1, 1) and not how["return_indices"] else None
    return "avg" if how["divisor_override"] in (None, 4) else None


def _pair(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)
