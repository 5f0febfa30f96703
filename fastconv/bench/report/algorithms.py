"""Where each of a planner's algorithms wins: how many problems it is the fastest on, and where it leads most."""

from __future__ import annotations

from dataclasses import dataclass

from fastconv.bench.report.cells import ABSENT, Cell, digits
from fastconv.bench.report.grid import Column, Grid
from fastconv.bench.report.races import is_algorithm, short_title
from fastconv.bench.results import Results

OPERATIONS = ("forward", "input", "weight")
"""What an algorithm is chosen for, each by itself."""

SHOWN = 3
"""Problems that an algorithm leads most on."""


@dataclass(frozen=True)
class _Lead:
    """The fastest algorithm on a problem, and its speed over the next."""

    algorithm: str
    problem: str
    operation: str
    over_next: float


def algorithms(results: Results) -> Grid | None:
    """A row an algorithm; None where no backend took part by two of its algorithms."""
    leads = _leads(results)
    if not leads:
        return None
    names = dict.fromkeys(record.contestant for record in results.records if is_algorithm(record.contestant))
    rows = []
    for name in names:
        own = [lead for lead in leads if lead.algorithm == name]
        counts = [sum(lead.operation == operation for lead in own) for operation in OPERATIONS]
        best = sorted(own, key=lambda lead: -lead.over_next)[:SHOWN]
        text = ", ".join(f"{lead.problem} {lead.operation} {digits(lead.over_next)}" for lead in best)
        rows.append(
            [Cell(name.removeprefix("fastconv.")), *(Cell(str(n), n) for n in counts), Cell(text) if text else ABSENT]
        )
    columns = [Column("algorithm", number=False), *(Column(short_title((False, each))) for each in OPERATIONS)]
    columns.append(Column("leads most on: speed over the next", number=False))
    note = (
        "On how many problems each of a backend's algorithms is the fastest of them, all that can do it timed in turns."
    )
    return Grid(columns, rows, "Where each algorithm wins", note)


def _leads(results: Results) -> list[_Lead]:
    found = []
    for (problem, operation), records in results.by_key().items():
        runners = [each for name, each in records.items() if is_algorithm(name) and each.kind == "conv"]
        if operation in OPERATIONS and len(runners) >= 2:
            first, second = sorted(runners, key=lambda each: each.best)[:2]
            found.append(_Lead(first.contestant, problem, operation, second.best / first.best))
    return found
