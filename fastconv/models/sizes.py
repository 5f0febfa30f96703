"""Errors for images whose size doesn't suit a network."""

from collections.abc import Collection

from fastconv.models.errors import ModelsError
from fastconv.models.recipes import ImageShape


def check_least(network: str, shape: ImageShape, least: int) -> None:
    """Raises ModelsError, which says how to enlarge them, for images of less than ``least`` x ``least`` pixels."""
    _, height, width = shape
    if min(height, width) < least:
        reads = f"{network} reads images of {least} x {least} or more, not {height} x {width}"
        raise ModelsError(f"{reads}; in training, --size {least} enlarges them")


def check_square(network: str, shape: ImageShape, sizes: Collection[int], in_words: str) -> None:
    """Raises ModelsError, which names the nearest, for images that are not squares of one of ``sizes`` pixels."""
    _, height, width = shape
    if height != width or height not in sizes:
        nearest = min(sizes, key=lambda size: abs(size - max(height, width)))
        reads = f"{network} reads square images of {in_words}, not {height} x {width}"
        raise ModelsError(f"{reads}; in training, --size {nearest} makes them so")
