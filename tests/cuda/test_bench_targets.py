"""What the backend `cuda` was to reach, and what a file of results says of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from fastconv.bench.gpu import summary
from fastconv.bench.gpu.targets import Target, targets, worst
from fastconv.bench.report import write_report
from fastconv.bench.results import Results, load, save
from tests.cuda.told import LIMIT, SPEEDS, results


def test_targets_are_geometric_means_with_verdicts() -> None:
    found = {target.title: target for target in targets(results(SPEEDS, epoch=("2.0", "1.0")))}
    expected_values = {
        "MNIST's layers at 100, forward: over cuDNN": (0.9, "missed"),
        "MNIST's layers at 4096, backward, in a CUDA graph: over cuDNN": (1.125, "met"),
        "ResNet-50's and VGG-16's 3x3, weight: over cuDNN": (0.9, "met"),
        "ResNet-50's and VGG-16's pointwise, input, TF32: over cuDNN's": (0.5, "met"),
        "poolings, forward: over torch": (0.9, "missed"),
        "poolings of over 64 MiB, backward, in a CUDA graph: of copying": (0.9, "met"),
        "ResNet-50's and VGG-16's, the best of all: of the float32 peak": (0.72, "met"),
        "an epoch of LeNet-5: over torch": (2.0, "met"),
    }
    for title, (value, verdict) in expected_values.items():
        assert found[title].value == pytest.approx(value), title
        assert found[title].verdict == verdict, title
    assert found["MNIST's layers at 100, forward: over cuDNN"].wanted == 7
    assert len(found) == 28


def test_mean_and_best_of_a_target() -> None:
    ratios = {("a", "forward"): 2.0, ("b", "forward"): 0.125}
    assert Target("t", 0.5, ratios, 2).value == pytest.approx(0.5)
    assert Target("t", 2.0, ratios, 2, best=True).verdict == "met"


def test_a_target_without_all_its_events_is_not_met() -> None:
    found = {target.title: target for target in targets(results(SPEEDS, leave_out="lenet5.conv2_n100"))}
    target = found["MNIST's layers at 100, forward, in a CUDA graph: over cuDNN"]
    assert (len(target.found), target.wanted, target.verdict) == (6, 7, "missed")
    assert target.value == pytest.approx(1.125)
    assert found["an epoch of LeNet-5: over torch"].verdict == "not measured"


def test_nothing_measured_is_no_verdict() -> None:
    assert {target.verdict for target in targets(Results({}, LIMIT, []))} == {"not measured"}


def test_the_worst_are_those_furthest_below_their_goals() -> None:
    found = [
        Target("one", 1.0, {("a", "forward"): 0.6, ("b", "forward"): 0.5}, 2),
        Target("other", 0.4, {("c", "input"): 0.1}, 1),
        Target("peak", 0.7, {("d", "input"): 0.01}, 1, unit="%"),
    ]
    assert [event[0] for event, _ in worst(found)] == ["c", "b", "a"]
    assert all(
        one[1].found[one[0]] / one[1].goal <= other[1].found[other[0]] / other[1].goal
        for one, other in pairwise(worst(targets(results(SPEEDS))))
    )


def test_tables_say_what_was_found() -> None:
    measured = results(SPEEDS, leave_out="lenet5.conv2_n100")
    found = targets(measured)
    rows = {row[0].text: [cell.marked for cell in row] for row in summary.overview(found).rows}
    assert rows["MNIST's layers at 100, forward: over cuDNN"][1:] == ["1.00x", "0.90x", "0.90x", "6 of 7", "▼ missed"]
    assert rows["ResNet-50's and VGG-16's, the best of all: of the float32 peak"][1] == "70%"
    assert rows["an epoch of LeNet-5: over torch"][2:] == ["-", "-", "0 of 1", "not measured"]
    grid = summary.worst_events(found, measured)
    assert len(grid.rows) == 10
    assert [cell.marked for cell in grid.rows[0][4:7]] == ["▼ 0.90", "1.00", "72%"]


def test_the_report_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "card-cuda.json"
    measured = results(SPEEDS, epoch=("2.0", "1.0"))
    kept = [each for each in measured.records if each.problem in ("lenet5.conv1_n4096", "lenet5.pool1_n4096")]
    save(Results(measured.environment, measured.limit, kept), path)
    write_report(load(path), tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    for word in ("Synthetic GPU", "fastconv.cuda.graph", "torch.tf32", "lenet5.conv1_n4096", "LeNet-5 epoch"):
        assert word in text
