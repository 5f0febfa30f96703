"""A planner's choice against the best of its algorithms."""

from __future__ import annotations

import pytest

from fastconv.bench.choices import Choice, choices
from fastconv.bench.contestants import entries
from fastconv.bench.problems import select
from fastconv.bench.report.algorithms import algorithms
from fastconv.bench.report.races import races
from tests.bench.synthetic import results


def test_choices_are_held_against_the_best_algorithm() -> None:
    speeds = {"fastconv.numba": 0.5, "fastconv.numba:gemm": 0.6, "fastconv.numba:direct": 0.4, "torch": 0.9}
    found = choices(results(speeds=speeds))
    convolutions = [key for key, by_name in results().by_key().items() if by_name["torch"].kind == "conv"]
    assert [(each.problem, each.operation) for each in found] == convolutions
    assert {(each.backend, each.best_algorithm) for each in found} == {("fastconv.numba", "gemm")}
    assert [each.lost for each in found] == pytest.approx([0.2] * len(found))


def test_one_way_alone_says_nothing() -> None:
    assert choices(results(speeds={"fastconv.numba": 0.5, "fastconv.numba:gemm": 0.6})) == []
    assert choices(results(speeds={"fastconv.numba:gemm": 0.5, "fastconv.numba:direct": 0.6})) == []


def test_a_faster_choice_lost_nothing() -> None:
    assert Choice("p", "forward", "fastconv.numba", 0.9, "gemm", 1.0).lost == pytest.approx(-0.1)


def test_where_each_way_wins() -> None:
    speeds = {"fastconv.numba": 0.5, "fastconv.numba:gemm": 0.6, "fastconv.numba:direct": 0.4, "torch": 0.9}
    found = results(speeds=speeds)
    grid = algorithms(found)
    assert grid is not None
    problems = len([each for each in select(["smoke"]) if each.kind == "conv"])
    won, lost = grid.rows
    assert [cell.text for cell in won[:4]] == ["numba:gemm", *[str(problems)] * 3]
    assert "smoke.first_n4 forward 1.50" in won[4].text
    assert [cell.text for cell in lost] == ["numba:direct", "0", "0", "0", "-"]
    assert algorithms(results()) is None
    names = {name for race in races(found) for name in race.runners}
    assert names == {"fastconv.numba", "torch"}, "algorithms race one another only"


LINES = tuple(
    f"{tile},{taps}" for tile, taps in (("1x4", "1x{}"), ("4x1", "{}x1")) for taps in map(taps.format, (3, 5, 7))
)

FORMS = tuple(f"winograd({form})" for form in ("2x2", "4x4", "4x4,5x5", "4x4,7x7", *LINES))


def test_ways_take_part_only_by_name() -> None:
    known = entries()
    assert {name for name, entry in known.items() if entry.named} == {
        f"fastconv.numba:{way}"
        for way in ("gemm", "direct", "winograd", *FORMS, "batch", "matrix", "channels", "depthwise", "planes")
    }
