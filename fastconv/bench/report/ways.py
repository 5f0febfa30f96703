"""Where each of a planner's ways wins: on how many problems it is the fastest of them, and where it leads most."""

from __future__ import annotations

from dataclasses import dataclass

from fastconv.bench.report.cells import ABSENT, Cell, digits
from fastconv.bench.report.grid import Column, Grid
from fastconv.bench.report.races import is_way, short_title
from fastconv.bench.results import Results

OPERATIONS = ("forward", "input", "weight")
"""What a way is chosen for, each by itself."""

SHOWN = 3
"""Problems that a way leads most on."""


@dataclass(frozen=True)
class _Lead:
    """The fastest way on a problem, and its speed over the next."""

    way: str
    problem: str
    operation: str
    over_next: float


def ways(results: Results) -> Grid | None:
    """A row a way; None where no backend took part in two of its ways."""
    leads = _leads(results)
    if not leads:
        return None
    names = dict.fromkeys(record.contestant for record in results.records if is_way(record.contestant))
    rows = []
    for name in names:
        own = [lead for lead in leads if lead.way == name]
        counts = [sum(lead.operation == operation for lead in own) for operation in OPERATIONS]
        best = sorted(own, key=lambda lead: -lead.over_next)[:SHOWN]
        text = ", ".join(f"{lead.problem} {lead.operation} {digits(lead.over_next)}" for lead in best)
        rows.append(
            [Cell(name.removeprefix("fastconv.")), *(Cell(str(n), n) for n in counts), Cell(text) if text else ABSENT]
        )
    columns = [Column("way", number=False), *(Column(short_title((False, each))) for each in OPERATIONS)]
    columns.append(Column("leads most on: speed over the next", number=False))
    note = (
        "On how many problems each of a backend's ways is the fastest of them, every way that can do it timed in turns."
    )
    return Grid(columns, rows, "Where each way wins", note)


def _leads(results: Results) -> list[_Lead]:
    found = []
    for (problem, operation), records in results.by_key().items():
        runners = [each for name, each in records.items() if is_way(name) and each.kind == "conv"]
        if operation in OPERATIONS and len(runners) >= 2:
            first, second = sorted(runners, key=lambda each: each.best)[:2]
            found.append(_Lead(first.contestant, problem, operation, second.best / first.best))
    return found
