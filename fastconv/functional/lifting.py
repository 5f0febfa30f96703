"""One-dimensional operations are done on images of height 1, whose width is the line's length."""

from __future__ import annotations

from typing import Any

from fastconv.arguments import IntOrPair, Padding, integers
from fastconv.geometry import Pair


def lift_lines(lines: Any) -> Any:
    """Returns lines (..., L) as images (..., 1, L)."""
    return lines[..., None, :]


def lower_lines(images: Any) -> Any:
    """Returns images (..., 1, L) as lines (..., L)."""
    return images[..., 0, :]


def lift_line(name: str, value: IntOrPair, neutral: int, at_least: int) -> Pair:
    """Returns a pair: ``neutral`` for the height, and the integer or 1-sequence ``value`` for the width."""
    (width,) = integers(name, value, 1, at_least)
    return neutral, width


def lift_sides(padding: Padding) -> Padding:
    """Returns a line's padding as that of an image: words stay, two sides (left, right) become four."""
    if isinstance(padding, str):
        return padding
    if isinstance(padding, (tuple, list)) and len(padding) == 2:
        left, right = integers("padding", padding, 2, 0)
        return 0, 0, left, right
    return lift_line("padding", padding, 0, 0)
