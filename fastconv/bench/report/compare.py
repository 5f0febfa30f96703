"""What changed between two files of results, with a verdict only where the change is outside the spread of both.

A run's time for one contestant is taken as the interval from its best burst to its median burst. What disturbs a
machine makes bursts slower, never faster, so the best is close to the undisturbed time; and half of the bursts lie
within the interval, so that its width tells how disturbed the run was. A change is called faster or slower where the
two intervals have no point in common *and* the best bursts differ by more than 5%, which they may do from run to run
on a machine that nobody touched. With fewer than three bursts on a side nobody knows the spread, and the verdict is
"unknown".

Between different machines times say nothing, so the verdict is on the time over torch's. Its interval goes from the
best over torch's median to the median over torch's best.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import log

from fastconv.bench.report.header import HARDWARE
from fastconv.bench.report.races import LEVEL, Stage, geometric_mean, place
from fastconv.bench.results import REFERENCE, Record, Results

BURSTS = 3
"""The fewest that tell a spread."""

_PASSING = ("commit", "date")
"""Entries of an environment that differ between any two runs."""

Key = tuple[str, str, str]
"""Problem, operation, contestant."""


@dataclass(frozen=True)
class Interval:
    """A time and where it may lie, in seconds or in torch's times, as ``bursts`` of this number tell."""

    low: float
    time: float
    high: float
    bursts: int

    def over(self, other: Interval) -> Interval:
        """This time as a multiple of another one."""
        fewer = min(self.bursts, other.bursts)
        return Interval(self.low / other.high, self.time / other.time, self.high / other.low, fewer)


@dataclass(frozen=True)
class Change:
    """A contestant on one operation of one problem, before and after.

    ``speed`` is the speed after over that before, from best bursts: 2 is twice as fast now. ``relative`` is the same
    for speeds over torch's, None for torch itself and where torch is missing. ``verdict`` is "faster", "slower",
    "same" or "unknown".
    """

    before: Record
    after: Record
    speed: float
    relative: float | None
    verdict: str

    @property
    def key(self) -> Key:
        """Problem, operation, contestant."""
        return *self.before.key, self.before.contestant

    @property
    def stage(self) -> Stage:
        """Where it belongs in reports."""
        return self.before.kind != "conv", self.before.operation


@dataclass(frozen=True)
class Comparison:
    """All that can be said of two runs; ``lost`` and ``gained`` were timed in one of them alone, with the reason why
    the other one has no time where it gives one. With ``by_torch`` verdicts are on speeds over torch's."""

    changes: list[Change]
    lost: dict[Key, str]
    gained: dict[Key, str]
    warnings: list[str]
    by_torch: bool

    def means(self) -> dict[tuple[Stage, str], tuple[int, float, float | None]]:
        """For every stage and contestant how many problems there are, and the geometric means of speed and relative."""
        groups: dict[tuple[Stage, str], list[Change]] = {}
        for change in self.changes:
            groups.setdefault((change.stage, change.after.contestant), []).append(change)
        table = {}
        for key, group in sorted(groups.items(), key=lambda item: place(item[0][0])):
            relative = [change.relative for change in group if change.relative is not None]
            speed = geometric_mean(change.speed for change in group)
            table[key] = (len(group), speed, geometric_mean(relative) if relative else None)
        return table


def compare(before: Results, after: Results) -> Comparison:
    """Every contestant, problem and operation that both runs timed, in the order of ``after``."""
    old, new = _timed(before), _timed(after)
    by_torch = any(before.environment.get(key) != after.environment.get(key) for key in HARDWARE)
    changes = [_change(old, new, key, by_torch) for key in new if key in old]
    lost = {key: _reason(after, key) for key in old if key not in new}
    gained = {key: _reason(before, key) for key in new if key not in old}
    return Comparison(changes, lost, gained, list(_warnings(before, after, changes, by_torch)), by_torch)


def _timed(results: Results) -> dict[Key, Record]:
    return {(*record.key, record.contestant): record for record in results.records if record.bursts}


def _reason(results: Results, key: Key) -> str:
    """Why there is no time for ``key``: the trouble, or "" if it was not run."""
    troubles = [record.trouble for record in results.records if (*record.key, record.contestant) == key]
    return next((trouble for trouble in troubles if trouble), "")


def _change(old: dict[Key, Record], new: dict[Key, Record], key: Key, by_torch: bool) -> Change:
    was, now = _interval(old[key]), _interval(new[key])
    speed, relative, verdict = was.time / now.time, None, "unknown" if by_torch else _verdict(was, now)
    torch = (*key[:2], REFERENCE)
    if key != torch and torch in old and torch in new:
        was, now = was.over(_interval(old[torch])), now.over(_interval(new[torch]))
        relative = was.time / now.time
        verdict = _verdict(was, now) if by_torch else verdict
    return Change(old[key], new[key], speed, relative, verdict)


def _interval(record: Record) -> Interval:
    return Interval(record.best, record.best, record.median, len(record.bursts))


def _verdict(was: Interval, now: Interval) -> str:
    if min(was.bursts, now.bursts) < BURSTS:
        return "unknown"
    if was.low > now.high and was.time / now.time > 1 + LEVEL:
        return "faster"
    if now.low > was.high and now.time / was.time > 1 + LEVEL:
        return "slower"
    return "same"


def _warnings(before: Results, after: Results, changes: Iterable[Change], by_torch: bool) -> Iterator[str]:
    """What a reader must know before believing a change."""
    entries = dict.fromkeys([*before.environment, *after.environment])
    for entry in entries:
        was, now = before.environment.get(entry, "not told"), after.environment.get(entry, "not told")
        if was != now and entry not in _PASSING:
            yield f"{entry} differs: {was} before, {now} after"
    if by_torch:
        yield "these are different machines or threads: verdicts are on the speed over torch's"
        return
    peaks = before.limit.flops / 1e9, after.limit.flops / 1e9
    if max(peaks) / min(peaks) > 1 + 2 * LEVEL:
        yield f"the measured peak went from {peaks[0]:.0f} to {peaks[1]:.0f} GFLOP/s: the machine changed"
    torch = [change.speed for change in changes if change.after.contestant == REFERENCE]
    if torch and abs(log(geometric_mean(torch))) > log(1 + LEVEL):
        yield f"torch is {geometric_mean(torch):.2f} times as fast as before: see the speeds over torch's too"
