"""Backends such as another package might bring, good and bad."""

from fastconv.backends.im2col import Im2col


class Plugged(Im2col):
    """A good one."""


class Crashing(Im2col):
    """Can't even be made."""

    def __init__(self) -> None:
        _ = 1 / 0


class Foreign:
    """Not a backend at all."""
