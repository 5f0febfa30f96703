"""One dimension as two: a line is an image of height 1, and what is asked of its length is asked of the width."""

from __future__ import annotations

from typing import Any

from fastconv.arguments import IntOrPair, Padding, integers
from fastconv.geometry import Pair


def lift_lines(lines: Any) -> Any:
    """(..., L) to (..., 1, L)."""
    return lines[..., None, :]


def lower_lines(images: Any) -> Any:
    """(..., 1, L) to (..., L)."""
    return images[..., 0, :]


def lift_line(name: str, value: IntOrPair, neutral: int, at_least: int) -> Pair:
    """An integer or 1-sequence for the width, beside the ``neutral`` one for the height."""
    (width,) = integers(name, value, 1, at_least)
    return neutral, width


def lift_sides(padding: Padding) -> Padding:
    """A line's padding as an image's: words stay, two sides (left, right) become four."""
    if isinstance(padding, str):
        return padding
    if isinstance(padding, (tuple, list)) and len(padding) == 2:
        left, right = integers("padding", padding, 2, 0)
        return 0, 0, left, right
    return lift_line("padding", padding, 0, 0)
