"""Results as races: each operation of each problem, who ran, and how the runners stand to torch and to the limit.

Ratios are of speeds, from best bursts: 2 is twice as fast as what it is compared with, 0.5 half as fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log

from fastconv.bench.results import GRAPH, REFERENCE, TF32, Record, Results

LEVEL = 0.05
"""Ratios this close to 1 are a draw: best bursts repeat within 5% from run to run."""

FAMILIES = ("mnist", "resnet50", "vgg16", "mobilenet", "googlenet", "alexnet", "smoke", "custom")
"""The sets that share no problem, networks first; each problem outside them is one of the ``UNUSUAL``."""

UNUSUAL = "unusual"

OPERATIONS = {
    (False, "forward"): "Convolution",
    (False, "backward"): "Convolution, gradients for input, weight and bias",
    (False, "input"): "Convolution, gradient for the input",
    (False, "weight"): "Convolution, gradient for the weight",
    (True, "forward"): "Pooling",
    (True, "backward"): "Pooling, gradient",
}
"""What is reported apart, as (of a pooling?, operation), in the order of reports."""

SHORT = {
    "Convolution, gradients for input, weight and bias": "conv, all gradients",
    "Convolution, gradient for the input": "conv, to input",
    "Convolution, gradient for the weight": "conv, to weight",
}
"""For the heads of columns."""

Stage = tuple[bool, str]


def is_ours(contestant: str) -> bool:
    """Whether it runs through fastconv."""
    return contestant.startswith("fastconv.")


def is_algorithm(contestant: str) -> bool:
    """Whether it is a backend that was forced to one of its algorithms."""
    return ":" in contestant


def is_apart(contestant: str) -> bool:
    """Whether it runs by other rules than the rest: with fewer digits, or replayed without being called."""
    return contestant.endswith((TF32, GRAPH))


def is_champion(contestant: str) -> bool:
    """Whether it may stand for fastconv: not torch behind fastconv's interface, which shows what that costs."""
    return is_ours(contestant) and contestant != "fastconv.torch" and not is_apart(contestant)


@dataclass(frozen=True)
class Race:
    """One operation of one problem. ``runners`` are the contestants with bursts, by name; ``floor`` is in seconds."""

    problem: str
    stage: Stage
    sets: frozenset[str]
    floor: float
    runners: dict[str, Record]

    @property
    def family(self) -> str:
        """The one of `FAMILIES` that it belongs to, or "unusual"."""
        return next((family for family in FAMILIES if family in self.sets), UNUSUAL)

    @property
    def reference(self) -> Record | None:
        """torch."""
        return self.runners.get(REFERENCE)

    @property
    def champion(self) -> Record | None:
        """The fastest of fastconv's backends; `auto`, which picks among the others, only when it is alone."""
        ours = [record for name, record in self.runners.items() if is_champion(name)]
        named = [record for record in ours if record.contestant != "fastconv.auto"]
        return _fastest(named or ours)

    @property
    def best_peer(self) -> Record | None:
        """The fastest that isn't fastconv's, torch among them."""
        peers = [record for name, record in self.runners.items() if not is_ours(name) and not is_apart(name)]
        return _fastest(peers)

    def to_torch(self, record: Record) -> float | None:
        """The speed of ``record`` over torch's."""
        return self.reference.best / record.best if self.reference else None

    def to_peer(self, record: Record) -> float | None:
        """The speed of ``record``, which is fastconv's, over the fastest peer's."""
        return self.best_peer.best / record.best if self.best_peer and is_ours(record.contestant) else None

    def of_limit(self, record: Record) -> float:
        """The part of the limit that it reaches: the shortest possible time over the time taken."""
        return self.floor / record.best

    def rate(self, record: Record) -> float:
        """1e9 floating-point operations a second; for poolings, which only move memory, 1e9 bytes a second."""
        return (record.bytes if self.stage[0] else record.flops) / record.best / 1e9


def races(results: Results, *, with_algorithms: bool = False) -> list[Race]:
    """Every problem and operation that was timed, by stage, in the run's order within each.

    In reports a backend's algorithms race one another only (algorithms.py), so they take part only where asked for.
    """
    found = []
    for (problem, operation), records in results.by_key().items():
        runners = {name: record for name, record in records.items() if with_algorithms or not is_algorithm(name)}
        if not runners:
            continue
        first = next(iter(runners.values()))
        floor = results.limit.floor(first.flops, first.bytes, first.dtype)
        stage = (first.kind != "conv", operation)
        found.append(Race(problem, stage, frozenset(first.sets), floor, runners))
    return sorted(found, key=lambda race: place(race.stage))


def by_stage(all_races: Iterable[Race]) -> dict[Stage, list[Race]]:
    """The races of each stage, stages in the order of reports."""
    table: dict[Stage, list[Race]] = {}
    for race in all_races:
        table.setdefault(race.stage, []).append(race)
    return dict(sorted(table.items(), key=lambda item: place(item[0])))


def by_family(all_races: Iterable[Race]) -> dict[str, list[Race]]:
    """The races of each family, networks first."""
    table: dict[str, list[Race]] = {}
    for race in all_races:
        table.setdefault(race.family, []).append(race)
    return {family: table[family] for family in (*FAMILIES, UNUSUAL) if family in table}


def contestants(all_races: Iterable[Race]) -> list[str]:
    """Everyone who ran: fastconv's, then torch, then the other peers; in the run's order within each."""
    names = dict.fromkeys(name for race in all_races for name in race.runners)
    return sorted(names, key=lambda name: (not is_ours(name), name != REFERENCE))


def stage_title(stage: Stage) -> str:
    """What people call it."""
    return OPERATIONS.get(stage, f"{'Pooling' if stage[0] else 'Convolution'}, {stage[1]}")


def short_title(stage: Stage) -> str:
    """The same in few letters."""
    title = stage_title(stage)
    return SHORT.get(title, title.replace("Convolution", "conv").replace("Pooling", "pool"))


def geometric_mean(ratios: Iterable[float]) -> float:
    """Of at least one positive number."""
    logarithms = [log(ratio) for ratio in ratios]
    return exp(sum(logarithms) / len(logarithms))


def verdict(ratio: float | None) -> str:
    """ "faster", "slower", or "level" where the two are too close to call; "" without a ratio."""
    if ratio is None:
        return ""
    if abs(log(ratio)) <= log(1 + LEVEL):
        return "level"
    return "faster" if ratio > 1 else "slower"


def _fastest(records: Iterable[Record]) -> Record | None:
    return min(records, key=lambda record: record.best, default=None)


def place(stage: Stage) -> tuple[int, Stage]:
    """What stages are sorted by."""
    order = list(OPERATIONS)
    return (order.index(stage) if stage in OPERATIONS else len(order)), stage
