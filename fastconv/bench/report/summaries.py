"""The tables that sum up: geometric means of speed over torch's, by contestant, by set and by stage."""

from __future__ import annotations

from collections.abc import Callable

from fastconv.bench.problems import SETS
from fastconv.bench.report.cells import ABSENT, Cell, ratio
from fastconv.bench.report.grid import Column, Grid
from fastconv.bench.report.races import (
    FAMILIES,
    LEVEL,
    UNUSUAL,
    Race,
    by_stage,
    contestants,
    geometric_mean,
    is_champion,
    short_title,
    verdict,
)
from fastconv.bench.results import REFERENCE, Record

CHAMPION = "fastconv, fastest"
"""Stands for the fastest of fastconv's backends, picked for each problem when all are known."""

MEANING = (
    f"Speed over torch's, from best bursts: 2 is twice as fast. ▲ faster, ▼ slower, ≈ within {LEVEL:.0%}. "
    f"“{CHAMPION}” takes for each problem the fastest of fastconv's backends, picked afterwards; torch behind "
    "fastconv's interface (fastconv.torch) is not among them."
)

Pick = Callable[[Race], Record | None]


def standings(races: list[Race]) -> Grid:
    """A row a contestant, a column a stage: geometric means over all problems."""
    stages = by_stage(races)
    rows = [
        [Cell(name), *(_mean(found, pick) for found in stages.values())]
        for name, pick in _picks(races)
        if name != REFERENCE
    ]
    columns = [Column("contestant", number=False), *(Column(short_title(stage)) for stage in stages)]
    return Grid(columns, rows, "Every contestant: speed over torch's, geometric mean of all problems")


def champions(races: list[Race]) -> Grid:
    """A row a family, a column a stage: geometric means for the fastest of fastconv's backends."""
    stages = by_stage(races)
    rows = []
    for family in (*FAMILIES, UNUSUAL):
        cells = [_mean([race for race in found if race.family == family], _champion) for found in stages.values()]
        if any(cell != ABSENT for cell in cells):
            rows.append([Cell(family), *cells])
    columns = [Column("set", number=False), *(Column(short_title(stage)) for stage in stages)]
    return Grid(columns, rows, f"{CHAMPION}: speed over torch's, geometric mean by set")


def by_set(races: list[Race]) -> Grid:
    """A row a set, a column a contestant: geometric means for one stage, every set that has problems in it."""
    picks = [(name, pick) for name, pick in _picks(races) if name != REFERENCE]
    present = {name for race in races for name in race.sets}
    names = dict.fromkeys(name for name in (*FAMILIES, *SETS, *sorted(present)) if name in present)
    rows = [_means("all", races, picks)]
    rows += [_means(name, [race for race in races if name in race.sets], picks) for name in names]
    columns = [Column("set", number=False), Column("problems"), *(Column(name) for name, _ in picks)]
    return Grid(columns, rows, "Speed over torch's, geometric mean by set", groups=[1])


def _picks(races: list[Race]) -> list[tuple[str, Pick]]:
    """Names and how to find each one's record in a race; the champion first where several could be it."""
    names = contestants(races)

    def runner(name: str) -> Pick:
        return lambda race: race.runners.get(name)

    several = sum(map(is_champion, names)) > 1
    return [*([(CHAMPION, _champion)] if several else []), *((name, runner(name)) for name in names)]


def _champion(race: Race) -> Record | None:
    return race.champion


def _mean(races: list[Race], pick: Pick) -> Cell:
    """The geometric mean, with "(n of m)" where some races lack the contestant."""
    chosen = [race.to_torch(record) for race in races if (record := pick(race))]
    ratios = [value for value in chosen if value is not None]
    if not ratios:
        return ABSENT
    mean = geometric_mean(ratios)
    cell = ratio(mean, verdict(mean))
    return (
        cell if len(ratios) == len(races) else Cell(f"{cell.text} ({len(ratios)} of {len(races)})", mean, cell.verdict)
    )


def _means(name: str, races: list[Race], picks: list[tuple[str, Pick]]) -> list[Cell]:
    return [Cell(name), Cell(str(len(races)), len(races)), *(_mean(races, pick) for _, pick in picks)]
