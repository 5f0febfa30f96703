"""The form that images are brought to before a network sees them: size and channels."""

from __future__ import annotations

from dataclasses import dataclass

from fastconv.models.errors import ModelsError

MOST_SIZE = 1024
"""Largest side of the images in pixels, beyond that of any network here."""


@dataclass(frozen=True)
class Form:
    """The form is squares of ``size`` pixels, cut from the images' middle, in ``channels``, 1 (grey) or 3; None leaves
    theirs.

    Raises ModelsError for another size or number of channels.
    """

    size: int | None = None
    channels: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not 1 <= self.size <= MOST_SIZE:
            raise ModelsError(f"the size of images is {self.size}; it must be at least 1 and at most {MOST_SIZE:,}")
        if self.channels not in (None, 1, 3):
            raise ModelsError(f"the number of channels is {self.channels}; it must be 1, for grey, or 3, for colour")


THEIRS = Form()
"""The form that leaves images as they are."""
