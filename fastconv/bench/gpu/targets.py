"""What the backend was to reach, and whether it did: arithmetic on a file of results alone.

A ratio is of speeds, from median bursts: 2 is twice as fast. A target is met when all its events were timed and their
geometric mean is at the goal or above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastconv.bench.contestants import OURS_ON_CUDA as OURS
from fastconv.bench.gpu import problems
from fastconv.bench.problems import Problem
from fastconv.bench.report.races import geometric_mean
from fastconv.bench.results import GRAPH, REFERENCE, TF32, Record, Results

BEYOND_CACHES = 2**26
"""Bytes from which on a pooling is compared with copying in memory: what is smaller is partly in the L2 cache."""

EPOCH = "LeNet-5 epoch, {}"
"""Where an epoch's seconds stand in a run's environment, by contestant."""

Event = tuple[str, str]
"""A problem's name and an operation."""


@dataclass(frozen=True)
class Target:
    """``found`` has the number of each event that was timed, of ``wanted`` events; they are summed up by their
    geometric mean, or by the best."""

    title: str
    goal: float
    found: dict[Event, float]
    wanted: int
    contestant: str = OURS
    """Whose numbers they are."""
    unit: str = "x"
    best: bool = False

    @property
    def value(self) -> float | None:
        """What is compared with the goal."""
        if not self.found:
            return None
        return max(self.found.values()) if self.best else geometric_mean(self.found.values())

    @property
    def verdict(self) -> str:
        """ "met", "missed", or "not measured"; missed too where an event couldn't be timed."""
        if self.value is None:
            return "not measured"
        return "met" if self.value >= self.goal and len(self.found) == self.wanted else "missed"


def targets(results: Results) -> list[Target]:
    """All of them."""
    table = results.by_key()
    found = []
    for layers, name, yardstick in (
        (problems.mnist(problems.SMALL), f"MNIST's layers at {problems.SMALL}", "cuDNN"),
        (problems.mnist(problems.LARGE), f"MNIST's layers at {problems.LARGE}", "cuDNN"),
        (problems.poolings(), "poolings", "torch"),
    ):
        for operation in ("forward", "backward"):
            for suffix, how in (("", ""), (GRAPH, ", in a CUDA graph")):
                title = f"{name}, {operation}{how}: over {yardstick}"
                found.append(_speed(title, 1.0, table, layers, operation, OURS + suffix, REFERENCE + suffix))
    for window in ("3x3", "pointwise"):
        layers = problems.dense(window)
        for operation in ("forward", "input", "weight"):
            title = f"ResNet-50's and VGG-16's {window}, {operation}"
            found.append(_speed(f"{title}: over cuDNN", 0.8, table, layers, operation, OURS, REFERENCE))
            tf32 = OURS + TF32, REFERENCE + TF32
            found.append(_speed(f"{title}, TF32: over cuDNN's", 0.4, table, layers, operation, *tf32))
    return [
        *found,
        _peak(results),
        *(_copying(results, operation) for operation in ("forward", "backward")),
        _epoch(results),
    ]


def worst(found: Sequence[Target], count: int = 10) -> list[tuple[Event, Target]]:
    """The events of ratios that are furthest below their goals."""
    ratios = [(event, target) for target in found if target.unit == "x" for event in target.found]
    return sorted(ratios, key=lambda each: each[1].found[each[0]] / each[1].goal)[:count]


Table = dict[Event, dict[str, Record]]


def _speed(
    title: str, goal: float, table: Table, layers: Sequence[Problem], operation: str, mine: str, other: str
) -> Target:
    """The speed of one contestant over another's."""
    found = {}
    for layer in layers:
        records = table.get((layer.name, operation), {})
        if mine in records and other in records:
            found[layer.name, operation] = records[other].median / records[mine].median
    return Target(title, goal, found, len(layers), mine)


def _peak(results: Results) -> Target:
    """The part of the float32 peak that the best layer reaches."""
    table = results.by_key()
    events = [
        (layer.name, operation)
        for window in ("3x3", "pointwise")
        for layer in problems.dense(window)
        for operation in ("forward", "input", "weight")
    ]
    found = {}
    for event in events:
        record = table.get(event, {}).get(OURS)
        if record is not None:
            found[event] = record.flops / record.median / results.limit.flops
    title = "ResNet-50's and VGG-16's, the best of all: of the float32 peak"
    return Target(title, 0.7, found, len(events), unit="%", best=True)


def _copying(results: Results, operation: str) -> Target:
    """The part of the bandwidth of copying that poolings beyond the caches reach, the time to call them left out."""
    table, bandwidth = results.by_key(), results.limit.bandwidth[max(results.limit.bandwidth)]
    layers = [layer for layer in problems.poolings() if layer.bytes(operation) > BEYOND_CACHES]
    found = {}
    for layer in layers:
        record = table.get((layer.name, operation), {}).get(OURS + GRAPH)
        if record is not None:
            found[layer.name, operation] = record.bytes / record.median / bandwidth
    title = f"poolings of over {BEYOND_CACHES // 2**20} MiB, {operation}, in a CUDA graph: of copying"
    return Target(title, 0.85, found, len(layers), OURS + GRAPH, "%")


def _epoch(results: Results) -> Target:
    seconds = [results.environment.get(EPOCH.format(name)) for name in (REFERENCE, OURS)]
    times = [float(each.split()[0]) for each in seconds if each is not None]
    found = {("lenet5", "epoch"): times[0] / times[1]} if len(times) == 2 else {}
    return Target("an epoch of LeNet-5: over torch", 1.0, found, 1)
