"""The contest of a GPU as far as it goes without one: what is measured, by whom, by which clock, and what is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fastconv.bench import contestants, together
from fastconv.bench.contestants import CUDA, Entry
from fastconv.bench.contestants.fastconv_adapter import Fastconv
from fastconv.bench.devices.cuda import Cuda
from fastconv.bench.devices.events import CAPTURED, LAPS
from fastconv.bench.event import WRONG, Rules
from fastconv.bench.gpu import problems, small_cases
from fastconv.bench.gpu.steps import names
from fastconv.bench.operands import on_cpu
from fastconv.bench.problems import Problem, conv, pool
from fastconv.bench.truth import TF32_ERROR, allowed, expected, fault
from tests.cuda.told import CONV, POOL, ToldClock


def hold(problem: Problem, operation: str, who: list[str], clock: ToldClock, **rules: Any) -> dict[str, Any]:
    given = Rules(**{"threads": torch.get_num_threads(), "bursts": 3, **rules})
    records = together.in_one_process(problem, operation, who, given, Cuda("cpu", clock))
    return {each.contestant: each for each in records}


def plant(
    monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[torch.Tensor], torch.Tensor], graph: bool = False
) -> None:
    """Let a contestant take part whose results are torch's, changed."""
    genuine = contestants.make

    def make(wanted: str, threads: int, device: str) -> Any:
        contestant = genuine("torch" if wanted == name else wanted, threads, device)
        if wanted == name:
            prepare = contestant.prepare
            monkeypatch.setattr(contestant, "prepare", lambda *given: _changed(prepare(*given), change), raising=False)
        return contestant

    monkeypatch.setattr(contestants, "make", make)
    monkeypatch.setitem(contestants._ON_CUDA, name, Entry("torch", graph=graph))


def _changed(call: Callable[[], Any], change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], Any]:
    return lambda: change(call())


# Problems


def test_problems_are_those_of_the_table_at_batches_for_gpus() -> None:
    found = problems.contest()
    by_name = {problem.name: problem for problem in found}
    assert len(by_name) == len(found)
    for name in ("lenet5.conv1_n100", "two_layer_cnn.conv2_n4096", "resnet50.2a_n32", "vgg16.1_2_n32"):
        assert by_name[name].kind == "conv"
    assert by_name["vgg16.1_2_n32"].geometry.input_shape == (32, 64, 224, 224)
    assert {p.name for p in problems.depthwise()} >= {"mobilenet.dw1_n32", "mobilenet.dw2_down_n32"}
    assert all(p.geometry.groups > 1 for p in problems.depthwise())
    assert {p.geometry.R for p in problems.dense("3x3")} == {3}
    assert {p.geometry.R for p in problems.dense("pointwise")} == {1}
    assert {p.geometry.N for p in problems.poolings()} == {32, 4096}
    assert not any("stem" in name for name in by_name)


# The contest


def test_every_contestant_convolves_rightly() -> None:
    records = hold(CONV, "forward", names(quick=False), ToldClock())
    assert list(records) == list(contestants.entries(CUDA))
    assert {name: each.trouble for name, each in records.items() if each.trouble} == {}
    assert all(len(each.bursts) == 3 for each in records.values())
    assert records["fastconv.cuda:direct"].way == "direct"
    assert records["torch"].way is None


@pytest.mark.parametrize("operation", ["backward", "input", "weight"])
def test_gradients_are_right(operation: str) -> None:
    records = hold(CONV, operation, ["torch", "torch.tf32", "torch.graph", "fastconv.cuda"], ToldClock())
    assert [each.trouble for each in records.values()] == [None] * 4


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("operation", POOL.operations)
def test_poolings_are_for_those_to_whom_they_differ(kind: str, operation: str) -> None:
    records = hold(pool("tiny", "tiny", kind, 1, 2, 4, 2), operation, names(quick=False), ToldClock())
    assert list(records) == ["torch", "torch.graph", "fastconv.cuda", "fastconv.cuda.graph"]
    assert not any(each.trouble for each in records.values())


def test_quick_leaves_out_the_rungs() -> None:
    assert names(quick=True) == [name for name in contestants.entries(CUDA) if ":" not in name]
    assert "fastconv.cuda:gemm" in names(quick=False)


def test_a_turn_is_many_launches_and_another_is_first_each_round() -> None:
    clock = ToldClock(1e-5)
    records = hold(CONV, "forward", ["torch", "torch.tf32", "torch.graph"], clock, seconds=0.01)
    assert records["torch"].bursts == [1e-5] * 3
    assert records["torch.graph"].bursts == [1e-5 / CAPTURED] * 3
    turns = [timed for timed in clock.timed if timed[1] == LAPS]
    assert [launches for _, _, launches, _ in turns] == [200] * 9
    calls = [call for call, *_ in turns]
    assert [calls.index(call) for call in calls] == [0, 1, 2, 1, 2, 0, 2, 0, 1]
    tf32 = [allow for *_, allow in turns]
    assert tf32 == [False, True, False, True, False, False, False, False, True]


def test_who_is_slow_has_one_burst_of_one_call() -> None:
    clock = ToldClock(0.2)
    records = hold(CONV, "forward", ["torch", "torch.graph"], clock, patience=0.01)
    assert (records["torch"].bursts, records["torch.graph"].bursts) == ([0.2], [0.2 / CAPTURED])
    assert [(laps, launches) for _, laps, launches, _ in clock.timed] == [(1, 1)] * 2


@pytest.mark.parametrize("graph", [False, True])
def test_a_wrong_result_is_not_timed(graph: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for change in (lambda y: y * 1.001, lambda y: y[:, :1].clone(), lambda y: y.flip(3), lambda y: y * torch.nan):
        with monkeypatch.context() as patch:
            plant(patch, "wrong", change, graph)
            records = hold(CONV, "forward", ["wrong", "torch"], ToldClock())
        assert records["wrong"].trouble.startswith(WRONG)
        assert records["wrong"].bursts == []
        assert len(records["torch"].bursts) == 3


def test_a_replay_that_does_nothing_is_found_out() -> None:
    class Idle(ToldClock):
        def capture(self, call: Callable[[], Any]) -> Callable[[], Any]:
            result = call()
            return lambda: result

    assert hold(CONV, "forward", ["torch.graph"], Idle())["torch.graph"].trouble.startswith(WRONG)


def test_who_breaks_has_the_error_for_a_record_unless_the_device_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(y: torch.Tensor) -> torch.Tensor:
        raise MemoryError("too little\nof it")

    plant(monkeypatch, "broken", broken)
    records = hold(CONV, "forward", ["broken", "torch"], ToldClock())
    assert records["broken"].trouble == "MemoryError: too little"
    assert records["torch"].bursts
    with pytest.raises(RuntimeError, match="the device is lost"):
        hold(CONV, "forward", ["broken"], ToldClock(lost=True))


# What is right


@pytest.mark.parametrize(("problem", "operation"), [(CONV, "backward"), (CONV, "weight"), (POOL, "backward")])
def test_the_truth_is_that_of_the_naive_backend(problem: Problem, operation: str) -> None:
    given = on_cpu(problem)
    naive = Fastconv("naive")
    found = naive.arrays(naive.call(problem, operation, given)())
    assert fault(found, expected(problem, operation, given), 1e-6) is None


def test_what_is_allowed() -> None:
    assert allowed(CONV, "forward", tf32=False) == 2e-5
    assert allowed(CONV, "weight", tf32=True) == TF32_ERROR
    (large,) = [p for p in problems.mnist(4096) if p.name == "lenet5.conv1_n4096"]
    assert allowed(large, "forward", tf32=False) == 2e-5
    assert allowed(large, "weight", tf32=False) == pytest.approx(2 * 2**-24 * (4096 * 784 / 6) ** 0.5)
    assert allowed(large, "weight", tf32=False) < 1e-4


def test_faults_are_found() -> None:
    right = [torch.ones(4, dtype=torch.float64)]
    assert fault([torch.ones(4)], right, 1e-5) is None
    for wrong in (
        [torch.ones(4), torch.ones(4)],
        [torch.ones(2, 2)],
        [torch.ones(4) * 1.1],
        [torch.full((4,), torch.nan)],
    ):
        assert fault(wrong, right, 1e-5)


def test_small_cases_run_every_rung() -> None:
    tiny = (conv("tiny", "tiny", 1, 2, 4, 3, 3, padding=1), POOL)
    calls, faults = small_cases.run("cpu", tiny)
    assert faults == []
    assert calls == 3 * len(small_cases.ALGORITHMS) + 2


def test_small_cases_find_a_wrong_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fastconv, "call", lambda *_: lambda: torch.zeros(1, 2, 2, 2))
    _, faults = small_cases.run("cpu", (POOL,))
    assert [text.partition(":")[0] for text in faults] == ["tiny_n1 forward cuda", "tiny_n1 backward cuda"]
