"""An explanation is what a backend says about how it would do a problem."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """The chosen algorithm and its cost; printed, it is a text for people."""

    algorithm: str
    """The algorithm that was chosen."""

    seconds: float | None
    """Predicted seconds of one call, or None if the backend predicts none."""

    text: str

    def __str__(self) -> str:
        return self.text
