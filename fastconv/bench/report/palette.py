"""How a contestant is drawn: the same colour and marker in every picture of a report.

Colours are Okabe and Ito's, which colour-blind readers tell apart. In grey the markers do it: fastconv's are filled,
its peers' hollow, and each has a shape of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastconv.bench.report.races import is_ours

_OURS = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#7A5C00", "P"),
    ("#4B4B4B", "X"),
    ("#56B4E9", "v"),
)
_PEERS = (
    ("#000000", "o"),
    ("#5F5F5F", "s"),
    ("#B8860B", "^"),
    ("#0072B2", "D"),
    ("#D55E00", "v"),
    ("#009E73", "p"),
    ("#CC79A7", "h"),
)


@dataclass(frozen=True)
class Look:
    """How one contestant is drawn; ``hollow`` markers are outlines."""

    colour: str
    marker: str
    hollow: bool

    @property
    def face(self) -> str:
        """What fills its marker."""
        return "white" if self.hollow else self.colour


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for every contestant, by its place among fastconv's or among the peers."""
    chosen = {}
    for ours, palette in ((True, _OURS), (False, _PEERS)):
        for place, name in enumerate(name for name in names if is_ours(name) == ours):
            colour, marker = palette[place % len(palette)]
            chosen[name] = Look(colour, marker, hollow=not ours)
    return chosen
