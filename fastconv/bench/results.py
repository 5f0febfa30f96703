"""What a run found, as a file: the machine, its limits, and the bursts of every contestant on every problem.

A record's time is that of one call, in seconds. Each burst gives the median of its calls; the best burst stands for
the contestant, since a host that steals time makes bursts slower and never faster; median and spread of the bursts
stand beside it.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

FORMAT = 1
REFERENCE = "torch"
"""The contestant that ratios are to: torch with contiguous tensors."""

GRAPH, TF32 = ".graph", ".tf32"
"""End the names of contestants of a GPU whose calls are replayed from a CUDA graph, or multiplied with fewer digits."""


class ResultsError(ValueError):
    """A file that holds no results; the message says which and why."""


@dataclass(frozen=True)
class Limit:
    """What the machine can do with the threads in use, measured.

    ``flops`` is its rate of fused multiply-adds in float32, two a multiply-add, in 1/s; in float64 it is half that.
    ``bandwidth`` gives, for footprints in bytes, the bytes copied a second, read and written counted each.
    """

    flops: float
    bandwidth: dict[int, float]

    def bytes_per_second(self, footprint: int) -> float:
        """At the smallest measured footprint that holds ``footprint`` bytes, or the largest there is."""
        sizes = sorted(self.bandwidth)
        return self.bandwidth[next((size for size in sizes if size >= footprint), sizes[-1])]

    def floor(self, flops: int, nbytes: int, dtype: str = "float32") -> float:
        """The shortest time, in seconds, in which so much can be computed and moved, one hidden behind the other."""
        rate = self.flops / 2 if dtype == "float64" else self.flops
        return max(flops / rate, nbytes / self.bytes_per_second(nbytes))


@dataclass(frozen=True)
class Record:
    """One contestant on one operation of one problem; ``trouble`` says why it has no bursts."""

    problem: str
    sets: list[str]
    kind: str
    operation: str
    contestant: str
    flops: int
    bytes: int
    bursts: list[float] = field(default_factory=list)
    trouble: str | None = None
    way: str | None = None
    """How the contestant went about it, where it has a choice and says so."""
    dtype: str = "float32"

    @property
    def best(self) -> float:
        """Seconds of a call in the best burst."""
        return min(self.bursts)

    @property
    def median(self) -> float:
        """Seconds of a call in the median burst."""
        return median(self.bursts)

    @property
    def spread(self) -> float:
        """How far the median burst is above the best, as a fraction of the best."""
        return self.median / self.best - 1

    @property
    def key(self) -> tuple[str, str]:
        """The problem and the operation, which all contestants have in common."""
        return self.problem, self.operation


@dataclass(frozen=True)
class Results:
    """A whole run. ``environment`` has what people need to judge it: machine, threads, versions, commit, date."""

    environment: dict[str, str]
    limit: Limit
    records: list[Record]

    def by_key(self) -> dict[tuple[str, str], dict[str, Record]]:
        """For each problem and operation, the contestants with bursts, in the run's order."""
        table: dict[tuple[str, str], dict[str, Record]] = {}
        for record in self.records:
            if record.bursts:
                table.setdefault(record.key, {})[record.contestant] = record
        return table


def save(results: Results, path: Path) -> None:
    """Write a file of results, all of it or nothing."""
    content: dict[str, Any] = {"format": FORMAT, **asdict(results)}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.write_text(json.dumps(content, indent=1) + "\n")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise ResultsError where no file can be written at ``path``; makes its folder. For before a long run."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ResultsError(f"{path}: no results can be written there ({error.strerror})") from None


def load(path: Path) -> Results:
    """Read a file of results.

    Raises:
        ResultsError: no such file, or none of results.
    """
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise ResultsError(f"{path}: its format is {content['format']}, and this bench reads {FORMAT}")
        limit = Limit(
            float(content["limit"]["flops"]),
            {int(size): float(rate) for size, rate in content["limit"]["bandwidth"].items()},
        )
        return Results(dict(content["environment"]), limit, [Record(**record) for record in content["records"]])
    except OSError as error:
        raise ResultsError(f"{path}: can't be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ResultsError):
            raise
        raise ResultsError(f"{path}: holds no results of the bench ({type(error).__name__}: {error})") from None
