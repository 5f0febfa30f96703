"""An explanation is what a backend says about how it would do a problem."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class Explanation:
    """The chosen algorithm and its cost; printed, it is a text for people."""

    algorithm: str
    """The algorithm that was chosen."""

    seconds: float | None
    """Predicted seconds of one call, or None if the backend predicts none."""

    text: str

    peak_seconds: float | None = None
    """Seconds that the operations of the definition take at the machine's peak, or None if the backend knows none."""

    measured: float | None = None
    """Measured seconds of one call, or None if they weren't asked for."""

    def __str__(self) -> str:
        if self.measured is None:
            return self.text
        peak = "" if self.peak_seconds is None else f", {self.peak_seconds / self.measured:.0%} of the peak"
        return f"{self.text}\n  measured: {1e3 * self.measured:.3f} ms{peak}"

    __repr__ = __str__
