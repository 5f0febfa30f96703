"""The tables of whole networks: times, speeds over plain torch, their means, and the memory of a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastconv.bench.networks.results import NetworkResults, Record
from fastconv.bench.report.cells import ABSENT, Cell, digits, ratio
from fastconv.bench.report.grid import Column, Grid
from fastconv.bench.report.races import geometric_mean, verdict
from fastconv.bench.results import REFERENCE

MEANING = (
    "Under plain torch a call's milliseconds; under the others the speed over plain torch's, with milliseconds in "
    "parentheses. Best bursts, all contestants in turns, each in a process of its own. ▲ faster, ▼ slower, ≈ within 5%."
)
MEMORY = "Megabytes at the peak of a call, above what the process held before it had the network."

Runs = dict[str, dict[str, Record]]
"""By network, then by contestant."""


def tables(results: NetworkResults) -> list[Grid]:
    """A table of times for every mode and batch, then the table of memory."""
    groups = _groups(results.records)
    grids = [_times(title, runs) for title, runs in groups.items()]
    return [*grids, _memory(groups)] if grids else []


def means(results: NetworkResults) -> Grid:
    """Returns a table of the geometric means of the speeds over plain torch's, a row for every mode and batch."""
    groups = _groups(results.records)
    names = [name for name in dict.fromkeys(n for runs in groups.values() for n in _names(runs)) if name != REFERENCE]
    rows = [
        [Cell(title), Cell(str(len(runs))), *(_summary(runs, name, geometric_mean) for name in names)]
        for title, runs in groups.items()
    ]
    columns = [Column("what", number=False), Column("networks"), *map(Column, names)]
    return Grid(columns, rows, "Whole networks: speed over plain torch's, geometric mean")


def sentence(results: NetworkResults) -> str:
    """One line: the machine, versions, commit and date."""
    keys = ("processor", "instruction set", "contestants", "commit", "date")
    parts = [results.environment[key] for key in keys if results.environment.get(key)]
    return " · ".join([*parts, f"threads: {results.environment['threads']}"])


def troubles(results: NetworkResults) -> list[str]:
    """A line for each contestant and reason, with the places."""
    rows: dict[tuple[str, str], list[str]] = {}
    for record in results.records:
        if record.trouble:
            place = f"{record.network} {record.mode} {record.batch}"
            rows.setdefault((record.contestant, record.trouble), []).append(place)
    return [f"{name}, not timed: {why} ({', '.join(places)})" for (name, why), places in rows.items()]


def line(records: Sequence[Record]) -> str:
    """An event in a line, for while it runs."""
    event = records[0].event
    parts = [
        f"{each.contestant} {1e3 * each.best:.3g} ms" if each.bursts else f"{each.contestant} -" for each in records
    ]
    return f"{event.network}, {event.mode}, batch {event.batch}: {', '.join(parts)}"


def _groups(records: Sequence[Record]) -> dict[str, Runs]:
    groups: dict[str, Runs] = {}
    for record in sorted(records, key=lambda each: (each.mode, each.batch)):
        title = f"{record.mode.capitalize()}, batch {record.batch}"
        groups.setdefault(title, {}).setdefault(record.network, {})[record.contestant] = record
    return groups


def _times(title: str, runs: Runs) -> Grid:
    names = _names(runs)
    others = [name for name in names if name != REFERENCE]
    rows = []
    for network, by_name in runs.items():
        torch = by_name.get(REFERENCE)
        first = Cell(digits(1e3 * torch.best)) if torch and torch.bursts else Cell("failed")
        rows.append([Cell(network), first, *(_speed(by_name.get(name), torch) for name in others)])
    for label, summary in (("geometric mean", geometric_mean), ("least", min)):
        rows.append([Cell(label), Cell(""), *(_summary(runs, name, summary) for name in others)])
    columns = [Column("network", number=False), Column("torch, ms"), *map(Column, others)]
    return Grid(columns, rows, title, groups=[len(runs)])


def _speed(record: Record | None, torch: Record | None) -> Cell:
    if record is None:
        return ABSENT
    if not record.bursts:
        return Cell("wrong" if record.trouble and "WrongResult" in record.trouble else "failed")
    times = digits(1e3 * record.best)
    if torch is None or not torch.bursts:
        return Cell(f"({times})", record.best)
    speed = torch.best / record.best
    return Cell(f"{digits(speed)} ({times})", speed, verdict(speed))


def _summary(runs: Runs, name: str, summary: Callable[[list[float]], float]) -> Cell:
    """Returns a summary over the networks that both ran, with their number if some are missing."""
    both = [(found[REFERENCE], found[name]) for found in runs.values() if REFERENCE in found and name in found]
    speeds = [torch.best / mine.best for torch, mine in both if torch.bursts and mine.bursts]
    if not speeds:
        return ABSENT
    cell = ratio(summary(speeds), verdict(summary(speeds)))
    missing = "" if len(speeds) == len(runs) else f", {len(speeds)} of {len(runs)}"
    return Cell(cell.text + missing, cell.value, cell.verdict)


def _memory(groups: dict[str, Runs]) -> Grid:
    names = list(dict.fromkeys(name for runs in groups.values() for name in _names(runs)))
    rows: list[list[Cell]] = []
    starts: list[int] = []
    for title, runs in groups.items():
        starts.append(len(rows))
        for network, found in runs.items():
            rows.append([Cell(title), Cell(network), *(_megabytes(found.get(name)) for name in names)])
    columns = [Column("what", number=False), Column("network", number=False), *map(Column, names)]
    return Grid(columns, rows, "Memory", MEMORY, groups=starts)


def _megabytes(record: Record | None) -> Cell:
    return ABSENT if record is None or record.memory is None else Cell(digits(record.memory / 1e6), record.memory)


def _names(runs: Runs) -> list[str]:
    """Contestants in the run's order, torch first."""
    names = dict.fromkeys(name for found in runs.values() for name in found)
    return sorted(names, key=lambda name: name != REFERENCE)
