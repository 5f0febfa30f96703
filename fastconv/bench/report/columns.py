"""Where a roofline's problems stand: split into panels, and side by side where their intensities are alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastconv.bench.report.races import Race, by_family

MOST = 12
"""Problems that a panel has room for: a family with more of them is split by batch."""

LONGEST = 26
"""Characters of a name that fit under a problem."""

_BATCH = re.compile(r"_n(\d+)$")


def panels(races: Sequence[Race]) -> dict[str, list[Race]]:
    """The races by family, and by batch where a family has too many; each under a title."""
    table: dict[str, list[Race]] = {}
    for family, found in by_family(races).items():
        for race in found:
            number = batch(race)
            split = len(found) > MOST or len({batch(other) for other in found}) == 1
            table.setdefault(f"{family}, batch {number}" if split and number else family, []).append(race)
    return table


def batch(race: Race) -> str:
    """The number of images, as the problem's name tells; "" if it doesn't."""
    found = _BATCH.search(race.problem)
    return found[1] if found else ""


def names(races: Sequence[Race]) -> list[str]:
    """The problems' names without what all of a panel share."""
    shared = len({batch(race) for race in races}) == 1
    short = [race.problem.removeprefix(f"{race.family}.") for race in races]
    short = [_BATCH.sub("", name) if shared else name for name in short]
    return [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in short]


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending ``places`` from ``low`` to ``high``, moved as little as possible (in the sum of squares) so that
    neighbours are ``gap`` apart or more; a smaller gap where they can't all be.

    With i gaps subtracted from place i the neighbours need only not descend: isotonic regression, by pooling those
    that do.
    """
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    pools: list[list[float]] = []
    for index, place in enumerate(places):
        pools.append([place - index * gap])
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    level = [_mean(pool) for pool in pools for _ in pool]
    top = high - gap * (len(places) - 1)
    return [min(max(value, low), top) + index * gap for index, value in enumerate(level)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
