"""The targets and what is worst, as tables for the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from fastconv.bench.gpu.targets import Target, targets, worst
from fastconv.bench.report.cells import ABSENT, Cell, digits, percent, ratio, seconds
from fastconv.bench.report.grid import Column, Grid, to_rich
from fastconv.bench.results import Record, Results

_SIGNS = {"met": "faster", "missed": "slower", "not measured": ""}
"""How a verdict is coloured."""


def show(results: Results, console: Console) -> None:
    """Print the targets, and what is furthest below them."""
    console.rule(Text("targets", style="bold"))
    found = targets(results)
    console.print(to_rich(overview(found)), to_rich(worst_events(found, results)))


def overview(found: list[Target]) -> Grid:
    """A row a target."""
    columns = [Column("target", number=False), *map(Column, ("goal", "found", "least", "events"))]
    columns.append(Column("verdict", number=False))
    met = sum(target.verdict == "met" for target in found)
    note = (
        "Ratios are of speeds, geometric means of median bursts; times by events of the GPU, many launches each, with "
        "a warm L2 cache."
    )
    return Grid(columns, [_row(target) for target in found], f"{met} of {len(found)} targets met", note)


def worst_events(found: list[Target], results: Results) -> Grid:
    """What is furthest below its goal, for who wants to profile it."""
    texts, numbers = ("problem", "operation", "contestant"), ("time", "ratio", "goal", "of the limit")
    columns = [
        *(Column(title, number=False) for title in texts),
        *map(Column, numbers),
        Column("algorithm", number=False),
    ]
    rows = []
    for (problem, operation), target in worst(found):
        number = target.found[problem, operation]
        shown = ratio(number, "faster" if number >= target.goal else "slower")
        record = results.by_key().get((problem, operation), {}).get(target.contestant)
        time, limit, way = (ABSENT, ABSENT, "") if record is None else _particulars(record, results)
        names = map(Cell, (problem, operation, target.contestant))
        rows.append([*names, time, shown, ratio(target.goal), limit, Cell(way)])
    return Grid(columns, rows, "Furthest below their goals")


def _particulars(record: Record, results: Results) -> tuple[Cell, Cell, str]:
    """The time, the part of the float32 limit that it reaches, and the algorithm."""
    part = results.limit.floor(record.flops, record.bytes) / record.median
    return seconds(record.median), percent(part), record.way or ""


def _row(target: Target) -> list[Cell]:
    show = percent if target.unit == "%" else lambda value: Cell(f"{digits(value)}x", value)
    value = target.value
    numbers = [show(target.goal), *([ABSENT] * 2 if value is None else map(show, (value, min(target.found.values()))))]
    timed = f"{len(target.found)} of {target.wanted}" if len(target.found) < target.wanted else str(target.wanted)
    return [Cell(target.title), *numbers, Cell(timed), Cell(target.verdict, verdict=_SIGNS[target.verdict])]
