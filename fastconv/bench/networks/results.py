"""What the contest of networks found, as a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastconv.bench.training import files

FORMAT = "networks 1"


@dataclass(frozen=True, order=True)
class Event:
    """A network at a batch, in a mode ("inference", "training")."""

    mode: str
    batch: int
    network: str


@dataclass(frozen=True)
class Record:
    """One contestant on one event: seconds of a call in each burst, or why there are none.

    ``error`` is relative to plain torch in float64; ``memory`` is in bytes, the peak of a call and what it needs.
    """

    mode: str
    batch: int
    network: str
    contestant: str
    bursts: list[float] = field(default_factory=list)
    trouble: str | None = None
    error: float | None = None
    memory: int | None = None

    @property
    def event(self) -> Event:
        """What was run."""
        return Event(self.mode, self.batch, self.network)

    @property
    def best(self) -> float:
        """Seconds of a call in the best burst: a disturbance makes bursts slower, never faster."""
        return min(self.bursts)


@dataclass(frozen=True)
class NetworkResults:
    """A whole run; ``environment`` as in `fastconv.bench.results.Results`."""

    environment: dict[str, str]
    records: list[Record]


def save(results: NetworkResults, path: Path) -> None:
    """Write a file of results, all of it or nothing."""
    files.write(path, FORMAT, asdict(results))


def load(path: Path) -> NetworkResults:
    """Read a file of results; raises ResultsError for no such file, or one of another kind."""

    def made(content: dict[str, Any]) -> NetworkResults:
        return NetworkResults(dict(content["environment"]), [Record(**record) for record in content["records"]])

    return files.read(path, FORMAT, made)


def joined(several: list[NetworkResults]) -> NetworkResults:
    """Several runs as one: the last one's environment, and of each record the last."""
    records = {(record.event, record.contestant): record for results in several for record in results.records}
    return NetworkResults(several[-1].environment, list(records.values()))
