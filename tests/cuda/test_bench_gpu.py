"""``python -m bench gpu`` as far as it goes without a GPU: the contest by a clock that is told the time, its process,
its arithmetic, its tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from bench import contest, contestants, together
from bench.child import Child, ChildError
from bench.cli import app
from bench.contestants import CUDA, OURS_ON_CUDA, Entry
from bench.contestants.fastconv_adapter import Fastconv
from bench.devices import cuda_limits as limits
from bench.devices.cuda import Cuda
from bench.devices.events import CAPTURED, LAPS
from bench.event import WRONG, Rules, record
from bench.gpu import cli as command
from bench.gpu import problems, small_cases, steps, summary, training
from bench.gpu.steps import Notebook, SkippedError, StepError, names
from bench.gpu.targets import EPOCH, Target, targets, worst
from bench.operands import on_cpu
from bench.problems import Problem, conv, parse, pool
from bench.report import write_report
from bench.results import Limit, Results, load, save
from bench.truth import TF32_ERROR, allowed, expected, fault

CONV = parse("N=1 C=2 H=4 K=2 R=3 padding=1")
POOL = pool("tiny", "tiny", "max", 1, 2, 4, 2)

LIMIT = Limit(60e12, {2**24: 6e12, 2**31: 4e12})


class ToldClock:
    """Each call takes as long as its contestant was said to; who is timed is noted."""

    def __init__(self, seconds: float = 1e-4, lost: bool = False) -> None:
        self.seconds = seconds
        self.lost = lost
        self.timed: list[tuple[Callable[[], Any], int, int, bool]] = []

    def laps(self, call: Callable[[], Any], laps: int, launches: int) -> list[float]:
        self.timed.append((call, laps, launches, torch.backends.cudnn.allow_tf32))
        return [self.seconds] * laps

    def capture(self, call: Callable[[], Any]) -> Callable[[], Any]:
        result = call()

        def replay() -> Any:
            for old, new in zip(_tensors(result), _tensors(call()), strict=True):
                old.copy_(new)
            return result

        return replay

    def settle(self) -> None:
        if self.lost:
            raise RuntimeError("the device is lost")


def _tensors(result: Any) -> list[torch.Tensor]:
    return [each for each in (result if isinstance(result, tuple) else (result,)) if each is not None]


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


# Limits and training


def test_peaks_of_known_cards() -> None:
    assert limits.peak(132, (9, 0), 1.98e9) == pytest.approx(66.9e12, rel=1e-3)  # H200
    assert limits.peak(108, (8, 0), 1.41e9) == pytest.approx(19.5e12, rel=1e-3)  # A100


def test_clock_of_the_card_by_torch_or_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_asked", lambda what: "1980 MHz")
    assert (
        limits.highest_clock(SimpleNamespace()) == limits.highest_clock(SimpleNamespace(clock_rate=1980000)) == 1.98e9
    )


def test_rates_are_amounts_over_the_best_lap() -> None:
    assert limits.copying(2**16, "cpu", ToldClock(1e-6)) == pytest.approx(2**16 / 1e-6)
    assert limits.matrix_product(8, "cpu", ToldClock(1e-6)) == pytest.approx(2 * 8**3 / 1e-6)


def test_environment_names_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_asked", lambda what: "590.1")
    card = SimpleNamespace(
        name="NVIDIA H200",
        major=9,
        minor=0,
        multi_processor_count=132,
        total_memory=141 * 2**30,
        L2_cache_size=50 * 2**20,
    )
    found = limits.environment(card)
    assert found["processor"] == "NVIDIA H200"
    assert found["GPU"] == "NVIDIA H200, 141 GiB, L2 cache 50 MiB, driver 590.1"
    assert limits.slug("NVIDIA GeForce RTX 4090 (Laptop)") == "nvidia-geforce-rtx-4090-laptop"


def test_an_epoch_of_both_networks() -> None:
    seconds = training.epoch("cpu", "torch", images=400, block=2)
    assert set(seconds) == {"fastconv.cuda", "torch"}
    assert all(found > 0 for found in seconds.values())


def test_networks_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = training.models_on
    other = genuine("torch")["torch"]
    torch.nn.init.zeros_(next(other.parameters()))
    monkeypatch.setattr(training, "models_on", lambda backend: {**genuine("torch"), OURS_ON_CUDA: other})
    with pytest.raises(RuntimeError, match="the networks differ before training"):
        training.epoch("cpu", images=100)


# Processes and steps


def test_a_child_answers_fails_dies_and_starts_again() -> None:
    with Child() as child:
        first = child.ask(os.getpid, patience=60)
        assert first not in (os.getpid(), None)
        assert child.ask(os.getpid, patience=60) == first
        assert child.ask(os.getenv, "NUMBA_ENABLE_CUDASIM", patience=60) == "0"
        with pytest.raises(ChildError, match="ValueError: invalid literal"):
            child.ask(int, "x", patience=60)
        with pytest.raises(ChildError, match="its process died"):
            child.ask(os._exit, 3, patience=60)
        with pytest.raises(ChildError, match=r"no answer within 0\.1 s"):
            child.ask(sleep, 60, patience=0.1)
        assert child.ask(os.getpid, patience=60) != first


class FragileChild:
    """Dies of one contestant."""

    def __init__(self, deadly: str) -> None:
        self.deadly = deadly

    def ask(
        self, function: Any, problem: Problem, operation: str, who: list[str], rules: Rules, patience: float
    ) -> Any:
        if self.deadly in who:
            raise ChildError("its process died")
        return [record(problem, operation, name, [1.0]) for name in who]


def test_of_contestants_that_bring_a_process_down_only_the_guilty_lacks_a_record() -> None:
    child: Any = FragileChild("fastconv.cuda.graph")
    found = together.survived(child, POOL, "forward", names(quick=False), Rules(1))
    assert {each.contestant: each.trouble for each in found if each.trouble} == {
        "fastconv.cuda.graph": "its process died"
    }
    assert [each.contestant for each in found] == ["torch", "torch.graph", "fastconv.cuda", "fastconv.cuda.graph"]


def test_the_contest_keeps_what_it_has_and_fails_if_one_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "contest", lambda: [POOL])
    console = Console(quiet=True)
    monkeypatch.setattr(together, "Child", Fragile := type("Fragile", (FragileChild, Child), {}))
    monkeypatch.setattr(
        Fragile, "__init__", lambda self: (Child.__init__(self), FragileChild.__init__(self, "torch"))[0]
    )
    notebook = Notebook.opened(tmp_path / "card.json", anew=True)
    with pytest.raises(StepError, match="2 of all contestants' events came to nothing"):
        steps.hold_contest(notebook, ["torch", "fastconv.cuda"], Rules(1), console)
    kept = load(tmp_path / "card.json").records
    assert [(each.operation, each.contestant) for each in kept if each.bursts] == [
        ("forward", "fastconv.cuda"),
        ("backward", "fastconv.cuda"),
    ]


def test_single_steps_add_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    first = Notebook.opened(path, anew=True)
    first.note(LIMIT, {"commit": "old"}, [record(POOL, "forward", "torch", [2.0])])
    again = Notebook.opened(path, anew=False)
    again.note(environment={"commit": "new"}, records=[record(POOL, "forward", "torch", [1.0])])
    found = load(path)
    assert (found.limit, found.environment["commit"], [each.best for each in found.records]) == (LIMIT, "new", [1.0])
    assert Notebook.opened(path, anew=True).results.records == []
    assert list(tmp_path.iterdir()) == [path]


def test_a_step_passes_fails_or_is_skipped() -> None:
    def raising(error: Exception) -> Callable[[], None]:
        def work() -> None:
            raise error

        return work

    console = Console(quiet=True)
    done = [steps.taken("s", raising(error), console) for error in (StepError("a"), ChildError("b"), SkippedError("c"))]
    assert [(each.state, each.why) for each in done] == [("failed", "a"), ("failed", "b"), ("skipped", "c")]
    assert steps.taken("s", lambda: None, console).state == "passed"


def test_without_the_sanitizer_it_is_said_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps.shutil, "which", lambda *_, **__: None)
    with pytest.raises(SkippedError, match="CUDA toolkit"):
        steps.watched("memcheck")


def test_programs_run_on_the_real_gpu_and_their_failure_is_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[list[str], str, str | None]] = []

    def run(command: list[str], env: dict[str, str], **_: Any) -> SimpleNamespace:
        ran.append((command[1:], env["NUMBA_ENABLE_CUDASIM"], env.get("PYTORCH_NO_CUDA_MEMORY_CACHING")))
        return SimpleNamespace(returncode=len(ran) - 1)

    monkeypatch.setattr(steps.subprocess, "run", run)
    monkeypatch.setattr(steps.shutil, "which", lambda *_, **__: "compute-sanitizer")
    steps.tests()
    with pytest.raises(StepError, match="exit status 1"):
        steps.watched("racecheck")
    assert ran[0] == (["-m", "pytest", "tests/gpu", "-q"], "0", None)
    assert ran[1][0][:2] == ["--tool", "racecheck"]
    assert ran[1][1:] == ("0", "1")


# Targets


def results(speeds: dict[str, float], leave_out: str = "", epoch: tuple[str, str] | None = None) -> Results:
    """Everything at so many times the limit's speed."""
    records = [
        record(problem, operation, name, [LIMIT.floor(problem.flops(operation), problem.bytes(operation)) / speed])
        for problem in problems.contest()
        for operation in problem.operations
        for name, speed in speeds.items()
        if contestants.entries(CUDA)[name].joins(problem) and problem.name != leave_out
    ]
    environment = {
        EPOCH.format(name): f"{time} s" for name, time in zip(("torch", "fastconv.cuda"), epoch or (), strict=False)
    }
    return Results({"processor": "Synthetic GPU", "commit": "0123abc", **environment}, LIMIT, records)


SPEEDS = {
    "torch": 0.8,
    "torch.graph": 0.8,
    "torch.tf32": 2.0,
    "fastconv.cuda": 0.72,
    "fastconv.cuda.graph": 0.9,
    "fastconv.cuda.tf32": 1.0,
    "fastconv.cuda:gemm": 0.7,
}


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


# The command


def test_the_contest_is_that_of_every_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bench run` with a GPU: its contestants, its clock, its limits."""

    @contextmanager
    def here(who: list[str], rules: Rules) -> Iterator[Callable[[Problem, str], Any]]:
        device = Cuda("cpu", ToldClock())
        yield lambda problem, operation: together.in_one_process(problem, operation, who, rules, device)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(contest._EVENTS, CUDA, here)
    monkeypatch.setattr(contest, "surroundings", lambda who, threads, device: (LIMIT, {"processor": device}))
    words = ["--device", "cuda", "--problem", "N=1 C=2 H=4 K=2 R=3 padding=1", "--op", "weight", "--bursts", "2"]
    done = CliRunner().invoke(app, ["run", *words, "--out", str(tmp_path / "out.json")], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    found = load(tmp_path / "out.json")
    assert (found.environment, found.limit) == ({"processor": "cuda"}, LIMIT)
    assert [each.contestant for each in found.records] == names(quick=True)
    assert [each.bursts for each in found.records if "graph" not in each.contestant] == [[1e-4] * 2] * 4


def test_without_a_gpu_it_says_so_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(app, ["gpu", "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert done.output == f"{command.NO_GPU}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "chosen"), [(["--skip-tests"], command.STEPS[1:]), (["--step", "limits"], ("limits",))]
)
def test_the_command_goes_on_after_a_failed_step(
    words: list[str], chosen: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    took: list[str] = []

    def note(name: str) -> Callable[..., None]:
        def work(*_: Any) -> None:
            took.append(name)
            if name == "limits":
                raise StepError("no limits")

        return work

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    monkeypatch.setattr(steps, "tests", note("tests"))
    monkeypatch.setattr(steps, "watched", lambda tool: note(tool)())
    for name, function in (("limits", "measure_limits"), ("contest", "hold_contest"), ("training", "train")):
        monkeypatch.setattr(steps, function, note(name))
    Notebook.opened(tmp_path / "nvidia-h200-cuda.json", anew=True).note(LIMIT, results(SPEEDS).environment)
    done = CliRunner().invoke(app, ["gpu", "--out", str(tmp_path), *words], env={"COLUMNS": "160"})
    assert done.exit_code == 1, done.output
    assert tuple(took) == chosen
    assert "failed: no limits" in done.output


def test_a_file_is_shown_without_a_gpu(tmp_path: Path) -> None:
    save(results(SPEEDS), tmp_path / "card.json")
    done = CliRunner().invoke(app, ["gpu", "--show", str(tmp_path / "card.json")])
    assert done.exit_code == 0
    assert "21 of 28 targets met" in done.output
    assert "MNIST's layers at 100, forward, in a CUDA graph: over cuDNN" in done.output


def test_a_step_that_there_is_not(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["gpu", "--step", "sideways"], env={"COLUMNS": "160"})
    assert done.exit_code == 2
    assert "no step is called sideways" in done.output
