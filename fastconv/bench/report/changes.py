"""What changed between two runs, as tables: means first, then each change, then what only one of the runs timed."""

from __future__ import annotations

from collections import Counter

from rich.console import Group
from rich.text import Text

from fastconv.bench.report import grid
from fastconv.bench.report.cells import Cell, ratio, seconds
from fastconv.bench.report.compare import Comparison, Key
from fastconv.bench.report.grid import Column, Grid
from fastconv.bench.report.races import stage_title, verdict

_KEY = [Column("problem", number=False), Column("operation", number=False), Column("contestant", number=False)]


def to_markdown(comparison: Comparison) -> str:
    """The whole comparison."""
    warnings = "\n".join(f"- **{warning}**" for warning in comparison.warnings)
    parts = [warnings, tally(comparison), *map(grid.to_markdown, _grids(comparison))]
    return "\n\n".join(part for part in parts if part) + "\n"


def to_table(comparison: Comparison) -> Group:
    """The whole comparison, for the terminal."""
    warnings = [Text(f"warning: {warning}", style="yellow") for warning in comparison.warnings]
    return Group(*warnings, Text(tally(comparison)), *map(grid.to_rich, _grids(comparison)))


def tally(comparison: Comparison) -> str:
    """How many of each verdict, in words."""
    count = Counter(change.verdict for change in comparison.changes)
    return (
        f"{len(comparison.changes)} times compared: {count['faster']} faster, {count['slower']} slower, "
        f"{count['same']} the same within the spread, {count['unknown']} unknown."
    )


def _grids(comparison: Comparison) -> list[Grid]:
    grids = [
        _means(comparison),
        _changed(comparison),
        _alone("Timed before, not after", comparison.lost),
        _alone("Timed after, not before", comparison.gained),
    ]
    return [each for each in grids if each.rows]


def _means(comparison: Comparison) -> Grid:
    titles = ["problems", "speed after / before", "the same, over torch's"]
    columns = [Column("operation", number=False), Column("contestant", number=False), *map(Column, titles)]
    rows = [
        [Cell(stage_title(stage)), Cell(name), Cell(str(count), count), _judged(speed), _judged(relative)]
        for (stage, name), (count, speed, relative) in comparison.means().items()
    ]
    return Grid(columns, rows, "Speed after over speed before, geometric means")


def _changed(comparison: Comparison) -> Grid:
    """The changes with a verdict, the worst first."""
    clear = [change for change in comparison.changes if change.verdict in ("faster", "slower")]
    clear.sort(key=lambda change: (change.relative or change.speed) if comparison.by_torch else change.speed)
    titles = ["before", "after", "speed after / before", "the same, over torch's"]
    columns = [*_KEY, *map(Column, titles), Column("verdict", number=False)]
    rows = [
        [
            *map(Cell, change.key),
            seconds(change.before.best),
            seconds(change.after.best),
            ratio(change.speed),
            ratio(change.relative),
            Cell(change.verdict, verdict=change.verdict),
        ]
        for change in clear
    ]
    return Grid(columns, rows, "Changes outside the spread of both runs, best bursts")


def _alone(title: str, keys: dict[Key, str]) -> Grid:
    """A row a problem, operation and reason, its contestants together."""
    together: dict[tuple[str, str, str], list[str]] = {}
    for (problem, operation, contestant), reason in keys.items():
        together.setdefault((problem, operation, reason or "not run"), []).append(contestant)
    titles = ["problem", "operation", "contestants", "reason"]
    rows = [[Cell(p), Cell(o), Cell(", ".join(names)), Cell(reason)] for (p, o, reason), names in together.items()]
    return Grid([Column(title, number=False) for title in titles], rows, title)


def _judged(value: float | None) -> Cell:
    return ratio(value, verdict(value))
