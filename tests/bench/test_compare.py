"""A change is called one only outside the spread of both runs, and machines are compared by torch."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from fastconv.bench.problems import select
from fastconv.bench.report.changes import to_markdown, to_table
from fastconv.bench.report.compare import Change, Comparison, compare
from fastconv.bench.results import Limit, Record, Results
from tests.bench.synthetic import ENVIRONMENT, LIMIT, SPEEDS, record, results

FIRST = select(["smoke"])[0]
ELSEWHERE = {**ENVIRONMENT, "processor": "Synthetic 4500"}


def run(bursts: dict[str, list[float]], environment: dict[str, str] = ENVIRONMENT) -> Results:
    """The first problem forwards, by contestants with these bursts."""
    records = [replace(record(FIRST, "forward", name, 1.0), bursts=times) for name, times in bursts.items()]
    return Results(dict(environment), LIMIT, records)


def numba(before: list[float], after: list[float]) -> Change:
    (change,) = compare(run({"fastconv.numba": before}), run({"fastconv.numba": after})).changes
    return change


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ([1.00, 1.02, 1.05], [1.20, 1.22, 1.25], "slower"),
        ([1.20, 1.22, 1.25], [1.00, 1.02, 1.05], "faster"),
        ([1.00, 1.30, 1.40], [1.20, 1.22, 1.25], "same"),  # before's median is above after's best
        ([1.20, 1.22, 1.25], [1.00, 1.30, 1.40], "same"),
        ([1.00, 1.01, 1.01], [1.04, 1.04, 1.04], "same"),  # apart, but less than two runs differ anyway
        ([1.04, 1.04, 1.04], [1.00, 1.01, 1.01], "same"),
        ([1.00, 1.01, 9.00], [1.20, 1.21, 1.21], "slower"),  # one bad burst of three says nothing
        ([1.00, 1.00], [2.00, 2.00, 2.00], "unknown"),
        ([1.00, 1.00, 1.00], [2.00], "unknown"),
    ],
)
def test_verdict(before: list[float], after: list[float], verdict: str) -> None:
    change = numba(before, after)
    assert change.verdict == verdict
    assert change.speed == pytest.approx(min(before) / min(after))
    assert change.relative is None


def test_same_run_has_no_changes(small: Results) -> None:
    comparison = compare(small, small)
    assert {change.verdict for change in comparison.changes} == {"same"}
    assert len(comparison.changes) == len(small.records)
    assert not comparison.warnings
    assert all(speed == relative == 1 for _, speed, relative in comparison.means().values() if relative)


def test_other_machine_is_judged_by_torch() -> None:
    """Half as fast a machine: fastconv keeps its place, jax falls back, im2col gains."""
    steady = [1.0, 1.0, 1.0]

    def times(scale: float) -> list[float]:
        return [scale * burst for burst in steady]

    before = run({"torch": times(1), "fastconv.numba": times(0.5), "jax": times(1), "fastconv.im2col": times(2)})
    after = run(
        {"torch": times(2), "fastconv.numba": times(1), "jax": times(4), "fastconv.im2col": times(2)}, ELSEWHERE
    )
    comparison = compare(before, after)
    assert comparison.by_torch
    found = {change.after.contestant: change for change in comparison.changes}
    assert {name: change.verdict for name, change in found.items()} == {
        "torch": "unknown",
        "fastconv.numba": "same",
        "jax": "slower",
        "fastconv.im2col": "faster",
    }
    assert found["fastconv.numba"].speed == 0.5
    assert [found[name].relative for name in ("torch", "fastconv.numba", "jax")] == [None, 1, 0.5]
    assert any("Synthetic 9000 before, Synthetic 4500 after" in warning for warning in comparison.warnings)
    assert any("different machines" in warning for warning in comparison.warnings)


def test_torchs_own_spread_counts_on_another_machine() -> None:
    before = run({"torch": [1.0, 1.0, 1.0], "jax": [1.0, 1.0, 1.0]})
    after = run({"torch": [1.0, 1.5, 1.5], "jax": [1.3, 1.3, 1.3]}, ELSEWHERE)
    assert compare(before, after).changes[1].verdict == "same"


def test_other_versions_and_another_state_are_warned_of() -> None:
    steady = [1.0, 1.0, 1.0]
    before = run({"torch": steady})
    after = run({"torch": [1.5, 1.5, 1.5]}, {**ENVIRONMENT, "contestants": "torch 3", "commit": "fff", "date": "now"})
    comparison = compare(before, replace(after, limit=Limit(300e9, LIMIT.bandwidth)))
    assert comparison.warnings == [
        "contestants differs: onnxruntime 1.27.0, torch 2.13.0 before, torch 3 after",
        "the measured peak went from 400 to 300 GFLOP/s: the machine changed",
        "torch is 0.67 times as fast as before: see the speeds over torch's too",
    ]
    assert not comparison.by_torch


def test_means_are_by_stage_and_contestant() -> None:
    faster = {name: speed * (2 if name == "fastconv.numba" else 1) for name, speed in SPEEDS.items()}
    means = compare(results(), results(speeds=faster)).means()
    for stage, problems in (((False, "forward"), 3), ((True, "backward"), 2)):
        count, speed, relative = means[stage, "fastconv.numba"]
        assert (count, speed, relative) == (problems, pytest.approx(2.0), pytest.approx(2.0))  # type: ignore[comparison-overlap]
    assert means[(False, "weight"), "torch"][0::2] == (3, None)


def test_what_one_run_lacks_is_listed_with_the_reason() -> None:
    failed: Record = record(FIRST, "forward", "jax", None, "a wrong result")
    before = run({"torch": [1.0] * 3, "jax": [1.0] * 3})
    after = replace(run({"torch": [1.0] * 3, "openvino": [1.0] * 3}))
    after.records.append(failed)
    comparison = compare(before, after)
    assert comparison.lost == {(FIRST.name, "forward", "jax"): "a wrong result"}
    assert comparison.gained == {(FIRST.name, "forward", "openvino"): ""}
    text = to_markdown(comparison)
    assert f"| {FIRST.name} | forward | jax | a wrong result |" in text
    assert f"| {FIRST.name} | forward | openvino | not run |" in text


def shown(comparison: Comparison) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(to_table(comparison))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("render", [to_markdown, shown])
def test_rendering_shows_changes_and_counts_the_rest(render: Callable[[Comparison], str]) -> None:
    before = run({"torch": [1.0] * 3, "fastconv.numba": [1.0] * 3})
    after = run({"torch": [1.0] * 3, "fastconv.numba": [1.25] * 3})
    text = render(compare(before, after))
    assert "2 times compared: 0 faster, 1 slower, 1 the same within the spread, 0 unknown." in text
    line = next(line for line in text.splitlines() if FIRST.name in line)
    words = line.replace("|", " ").split()[2:]
    assert words == ["fastconv.numba", "1.00", "s", "1.25", "s", "0.80", "0.80", "▼", "slower"]
