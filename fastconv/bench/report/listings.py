"""The tables that tell all: a row a problem, and a row a problem and contestant."""

from __future__ import annotations

from collections import Counter

from fastconv.bench.report.cells import ABSENT, Cell, percent, rate, ratio, seconds
from fastconv.bench.report.grid import Column, Grid
from fastconv.bench.report.races import LEVEL, Race, stage_title, verdict
from fastconv.bench.report.shapes import shape
from fastconv.bench.results import REFERENCE, Record, Results


def glance(races: list[Race]) -> Grid:
    """A row a problem of one stage: torch, the fastest of fastconv's backends, and the fastest peer."""
    unit = "GB/s" if races[0].stage[0] else "GFLOP/s"
    titles = ["problem", "shape", "backend", "time", unit, "of limit", "torch", "over torch", "best peer", "over peer"]
    words = {"problem", "shape", "backend", "best peer"}
    rows = [_glance_row(race) for race in races]
    columns = [Column(title, number=title not in words) for title in titles]
    return Grid(columns, rows, "The fastest of fastconv's backends on every problem", tally(races))


def tally(races: list[Race]) -> str:
    """How often the fastest of fastconv's backends beats torch, and how often it doesn't."""
    count = Counter(verdict(race.to_torch(race.champion)) for race in races if race.champion and race.reference)
    if not count:
        return ""
    return (
        f"Of {sum(count.values())} problems the fastest of fastconv's backends is faster than torch on "
        f"{count['faster']}, level (within {LEVEL:.0%}) on {count['level']}, slower on {count['slower']}."
    )


def everything(races: list[Race]) -> Grid:
    """A row a problem of one stage and contestant, the fastest first: all that was measured."""
    unit = "GB/s" if races[0].stage[0] else "GFLOP/s"
    titles = ["best", "median", "spread", unit, "of limit", "over torch", "over best peer"]
    columns = [Column("problem", number=False), Column("contestant", number=False), *map(Column, titles)]
    rows: list[list[Cell]] = []
    groups = []
    for race in races:
        groups.append(len(rows))
        rows += [_full_row(race, record) for record in sorted(race.runners.values(), key=lambda record: record.best)]
    return Grid(columns, rows, "Every contestant on every problem", groups=groups)


def event(race: Race) -> Grid:
    """A row a contestant on one operation of one problem, the fastest first."""
    rows = [
        [
            Cell(record.contestant),
            seconds(record.best),
            rate(race.rate(record)),
            percent(race.of_limit(record)),
            ratio(race.to_torch(record)) if record.contestant == REFERENCE else _judged(race.to_torch(record)),
            Cell(record.way) if record.way else ABSENT,
        ]
        for record in sorted(race.runners.values(), key=lambda record: record.best)
    ]
    titles = ["time", "GB/s" if race.stage[0] else "GFLOP/s", "of limit", "over torch"]
    columns = [Column("contestant", number=False), *map(Column, titles), Column("algorithm", number=False)]
    return Grid(columns, rows, f"{race.problem}: {stage_title(race.stage)}")


def layers(races: list[Race]) -> Grid:
    """A row a layer: the fastest of fastconv's backends, its part of the limit and its speed over torch's, by pass."""
    passes = {"forward": "forward", "backward": "gradients"}
    table: dict[str, dict[str, Race]] = {}
    for race in races:
        if race.stage[1] in passes:
            table.setdefault(race.problem, {})[race.stage[1]] = race
    titles = [f"{name}{what}" for name in passes.values() for what in ("", ": time", ": of limit", ": over torch")]
    columns = [Column("layer", number=False), Column("shape", number=False)]
    columns += [Column(title, number=":" in title) for title in titles]
    rows = [
        [Cell(problem), Cell(shape(problem)), *(cell for key in passes for cell in _standing(found.get(key)))]
        for problem, found in table.items()
    ]
    return Grid(columns, rows)


def troubles(results: Results) -> Grid | None:
    """Return the contestants' failures with their reasons; None if there were none."""
    count = Counter(
        (record.contestant, record.trouble or "no bursts, no reason given")
        for record in results.records
        if not record.bursts
    )
    if not count:
        return None
    rows = [[Cell(name), Cell(str(times), times), Cell(reason)] for (name, reason), times in count.items()]
    columns = [Column("contestant", number=False), Column("times"), Column("reason", number=False)]
    return Grid(columns, rows)


def _glance_row(race: Race) -> list[Cell]:
    record, torch, peer = race.champion, race.reference, race.best_peer
    backend, time, of_limit, over_torch = _standing(race)
    return [
        Cell(race.problem),
        Cell(shape(race.problem)),
        backend,
        time,
        rate(race.rate(record)) if record else ABSENT,
        of_limit,
        seconds(torch.best) if torch else ABSENT,
        over_torch,
        Cell(peer.contestant) if peer else ABSENT,
        _judged(race.to_peer(record) if record else None),
    ]


def _standing(race: Race | None) -> list[Cell]:
    """The champion: its name and what it chose, its time, its part of the limit, its speed over torch's."""
    if race is None or race.champion is None:
        return [ABSENT] * 4
    record = race.champion
    name = record.contestant.removeprefix("fastconv.")
    how = f"{name}: {record.way}" if record.way else name
    return [Cell(how), seconds(record.best), percent(race.of_limit(record)), _judged(race.to_torch(record))]


def _full_row(race: Race, record: Record) -> list[Cell]:
    return [
        Cell(race.problem),
        Cell(record.contestant),
        seconds(record.best),
        seconds(record.median),
        percent(record.spread),
        rate(race.rate(record)),
        percent(race.of_limit(record)),
        ratio(race.to_torch(record)) if record.contestant == REFERENCE else _judged(race.to_torch(record)),
        _judged(race.to_peer(record)),
    ]


def _judged(value: float | None) -> Cell:
    return ratio(value, verdict(value))
