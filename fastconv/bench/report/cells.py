"""What stands in a table: a text of few digits, the number behind it, and its verdict."""

from __future__ import annotations

from dataclasses import dataclass

MARKS = {"faster": "▲", "slower": "▼", "level": "≈"}


@dataclass(frozen=True)
class Cell:
    """A text; the number to sort it by; and, for a ratio, its verdict: "faster", "slower", "level" or ""."""

    text: str
    value: float | None = None
    verdict: str = ""

    @property
    def marked(self) -> str:
        """The text with a sign for its verdict, so that no reader depends on colour."""
        return f"{MARKS[self.verdict]} {self.text}" if self.verdict else self.text


ABSENT = Cell("-")


def seconds(time: float) -> Cell:
    """A duration of three digits, in the unit that suits it."""
    scale, unit = next((s, u) for s, u in ((1e-6, "µs"), (1e-3, "ms"), (1.0, "s")) if time < 999.5 * s or u == "s")
    return Cell(f"{digits(time / scale)} {unit}", time)


def ratio(value: float | None, verdict: str = "") -> Cell:
    """A quotient of speeds, of three digits; a dash for none."""
    return ABSENT if value is None else Cell(digits(value), value, verdict)


def percent(value: float) -> Cell:
    """A fraction as percent, of two digits below ten."""
    shown = 100 * value
    return Cell(f"{shown:.0f}%" if shown >= 9.95 else f"{shown:.1f}%", value)


def rate(value: float) -> Cell:
    """A rate, of three digits."""
    return Cell(digits(value), value)


def digits(value: float) -> str:
    """Three significant digits, without an exponent; from 100 on all before the point."""
    if value >= 99.95:
        return f"{value:.0f}"
    if value >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.00995 else f"{value:.2g}"
