"""The contest: wrong results are refused, turns rotate, the slow are spared, processes are real and end."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.bench import apart, contestants, truth
from fastconv.bench.contest import hold
from fastconv.bench.contestants import CPU, Entry
from fastconv.bench.devices import cpu
from fastconv.bench.event import Rules, event
from fastconv.bench.operands import on_cpu
from fastconv.bench.problems import PROBLEMS, Problem, parse
from fastconv.bench.racers import start
from fastconv.bench.worker import serve

PROBLEM = parse("N=2 C=2 H=6 K=4 R=3 padding=1")


class Fake:
    """A contestant in this process: it answers as told, and notes its turns."""

    def __init__(self, name: str, answers: dict[str, Any], turns: list[str]) -> None:
        self.name, self.answers, self.turns = name, answers, turns

    def ask(self, command: str, *arguments: Any) -> tuple[Any, str | None]:
        if command == "burst":
            self.turns.append(self.name)
        answer = self.answers[command]
        return (None, answer) if isinstance(answer, str) else (answer, None)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {name: Entry("torch") for name in ("right", "wrong", "slow", "broken")}
    entries["small"] = Entry("torch", most_flops=10.0)
    genuine = contestants.entries()
    monkeypatch.setattr(contestants, "entries", lambda device=CPU: {**genuine, **entries})


def _right() -> tuple[np.ndarray, ...]:
    return tuple(each.numpy() for each in truth.expected(PROBLEM, "forward", on_cpu(PROBLEM)))


def _event(*fakes: Fake) -> dict[str, Any]:
    records = event(PROBLEM, "forward", fakes, Rules(threads=1, bursts=3), cpu.Cpu())
    return {record.contestant: record for record in records}


def test_a_wrong_result_is_refused_not_timed() -> None:
    (right,) = _right()
    for planted in (right * 1.001, np.where(np.arange(6) == 5, np.nan, right), right[:, :3], right[..., ::-1]):
        turns: list[str] = []
        wrong = Fake("wrong", {"prepare": ((planted,), None), "burst": 0.1}, turns)
        record = _event(wrong, Fake("right", {"prepare": ((right,), "by hand"), "burst": 0.2}, turns))["wrong"]
        assert record.trouble.startswith("WRONG RESULT: ")
        assert record.bursts == []
        assert turns == ["right"] * 3


def test_a_record_says_how_its_contestant_went_about_it() -> None:
    with apart.events(["fastconv.numba", "fastconv.naive"], Rules(1, bursts=1, seconds=0.001)) as among_them:
        problem = parse("N=2 C=40 H=12 K=24 R=3 padding=1")
        ways = {}
        for operation in ("forward", "backward"):
            for record in among_them(problem, operation):
                ways[record.contestant, operation] = record.way
    g = problem.geometry
    how = (g.input_shape, g.weight_shape, g.stride, g.padding)
    chosen = [
        fastconv.explain(*how, operation=name, backend="numba").algorithm for name in ("conv2d_input", "conv2d_weight")
    ]
    assert ways["fastconv.numba", "forward"] == fastconv.explain(*how, backend="numba").algorithm
    assert ways["fastconv.numba", "backward"] == ", ".join(dict.fromkeys(chosen))
    assert ways["fastconv.naive", "forward"] is None


def test_rounding_is_no_fault() -> None:
    (right,) = _right()
    wanted = truth.expected(PROBLEM, "forward", on_cpu(PROBLEM))
    assert truth.fault((right.astype(np.float32),), wanted, truth.ERRORS["float32"]) is None
    assert truth.fault((right, right), wanted, truth.ERRORS["float32"]) == "2 arrays, 1 expected"


def test_turns_rotate_and_the_slow_have_one() -> None:
    turns: list[str] = []
    prepared = {"prepare": (_right(), "by hand"), "burst": 0.1}
    records = _event(
        Fake("right", prepared, turns),
        Fake("slow", {**prepared, "burst": 2 * Rules(1).patience}, turns),
        Fake("broken", {**prepared, "burst": "MemoryError"}, turns),
        Fake("small", prepared, turns),
    )
    assert turns == ["right", "slow", "broken", "right", "right"]
    assert [len(records[name].bursts) for name in ("right", "slow", "broken", "small")] == [3, 1, 0, 0]
    assert records["broken"].trouble == "MemoryError"
    assert "left out above 1e-08 GFLOP" in records["small"].trouble
    assert records["right"].flops == PROBLEM.flops("forward")


def test_first_of_a_round_changes() -> None:
    turns: list[str] = []
    prepared = {"prepare": (_right(), "by hand"), "burst": 0.1}
    _event(Fake("right", prepared, turns), Fake("wrong", prepared, turns))
    assert turns == ["right", "wrong", "wrong", "right", "right", "wrong"]


def test_real_processes() -> None:
    """Own and foreign contestants, all operations, each with a process of its own."""
    pooling = next(problem for problem in PROBLEMS if problem.name == "smoke.max_n4")
    told: list[str] = []
    names = ["fastconv.im2col", "torch", "torch.channels_last"]
    records = list(hold([PROBLEM, pooling], ["forward", "backward", "input"], names, Rules(1, 2, 0.001), told.append))
    assert len(records) == 3 * (3 + 2)
    assert all(record.trouble is None and len(record.bursts) == 2 for record in records)
    assert all(0 < burst < 1 for record in records for burst in record.bursts)
    assert told[0] == f"{PROBLEM.name} forward"


def test_a_real_wrong_result_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = truth.expected
    monkeypatch.setattr(truth, "expected", lambda *problem: [2 * each for each in genuine(*problem)])
    (record,) = hold([PROBLEM], ["forward"], ["fastconv.im2col"], Rules(1, 2, 0.001))
    assert record.trouble is not None
    assert record.trouble.startswith("WRONG RESULT: relative error 5.0e-01")


def test_a_process_that_dies_is_a_trouble_not_a_hang() -> None:
    impossible = dataclasses.replace(PROBLEM, geometry=None)
    with ExitStack() as stack:
        racer = start("fastconv.im2col", serve, 1, stack)
        value, trouble = racer.ask("prepare", impossible, "forward")
        assert value is None
        assert trouble is not None
        assert "AttributeError" in trouble
        racer.pipe.send(("stop",))
        assert racer.ask("burst", 0.01) == (None, "its process ended")


def test_unknown_contestant() -> None:
    with pytest.raises(KeyError, match="no contestant is called 'cudnn'"):
        list(hold([PROBLEM], ["forward"], ["cudnn"], Rules(1)))


def test_a_burst_is_the_median_of_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    durations = iter([9.0, 1.0, 5.0, 3.0, 100.0])  # the first only wakes up
    monkeypatch.setattr(cpu, "perf_counter", lambda: now[0])

    def call() -> None:
        now[0] += next(durations)

    assert cpu.burst(call, 8.5) == 3.0


@pytest.mark.parametrize("problem", [PROBLEM], ids=["small"])
def test_operands_are_the_same_everywhere(problem: Problem) -> None:
    one, other = on_cpu(problem), on_cpu(problem)
    assert np.array_equal(one.x, other.x)
    assert one.x.dtype == np.float32
    assert not np.array_equal(one.x, on_cpu(problem.at_batch(2)).w)
