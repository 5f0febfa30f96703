"""What a backend says about how it would do a problem."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """Printed, it is a text for people."""

    algorithm: str
    """What was chosen."""

    seconds: float | None
    """The time that is predicted, or None where none is."""

    text: str

    def __str__(self) -> str:
        return self.text
