"""What a planner chose against the best of its algorithms: where another would have been faster.

A backend that plans takes part as itself and, asked for by name, by each of its algorithms (`fastconv.numba:gemm`). Its
time should be that of the best of them; where it isn't, its estimates are wrong there, or its choice is a close one.
From run to run, best bursts differ by some 5%, on a busy machine by more.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from fastconv.bench.results import Results

TOLERANCE = 0.15
"""The part of its time that a planner may lose by its choice."""


@dataclass(frozen=True)
class Choice:
    """A backend on one operation of one problem: its time by its own choice, and the best of its algorithms'."""

    problem: str
    operation: str
    backend: str
    seconds: float
    best_algorithm: str
    best_seconds: float

    @property
    def lost(self) -> float:
        """The time above the best's, as a part of the best's; negative where the choice was faster."""
        return self.seconds / self.best_seconds - 1


def choices(results: Results) -> list[Choice]:
    """Every problem and operation that a backend did by its own choice and by at least two of its algorithms."""
    found = []
    for (problem, operation), records in results.by_key().items():
        for name, record in records.items():
            if record.kind != "conv":  # poolings have one algorithm, whatever the name
                continue
            algorithms = {key: each.best for key, each in records.items() if key.startswith(f"{name}:")}
            if len(algorithms) >= 2:
                best = min(algorithms, key=lambda key: algorithms[key])
                found.append(Choice(problem, operation, name, record.best, best.partition(":")[2], algorithms[best]))
    return found


def to_table(found: list[Choice]) -> Table:
    """The misses, worst first."""
    missed = sorted((each for each in found if each.lost > TOLERANCE), key=lambda each: -each.lost)
    title = f"{len(missed)} of {len(found)} choices lost more than {TOLERANCE:.0%}"
    table = Table(title=title, title_justify="left")
    for name in ("problem", "operation", "backend", "ms", "best algorithm", "ms", "lost"):
        table.add_column(name, overflow="fold")
    for each in missed:
        times = f"{1e3 * each.seconds:.3f}", each.best_algorithm, f"{1e3 * each.best_seconds:.3f}"
        table.add_row(each.problem, each.operation, each.backend, *times, f"{each.lost:.0%}")
    return table
