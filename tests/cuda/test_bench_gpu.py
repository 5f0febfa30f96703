"""``fastconv bench gpu`` as far as it goes without a GPU: limits, training, the process that may die, steps, words."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from fastconv.bench import contest, together
from fastconv.bench.child import Child, ChildError
from fastconv.bench.cli import app
from fastconv.bench.contestants import CUDA, OURS_ON_CUDA
from fastconv.bench.devices import cuda_limits as limits
from fastconv.bench.devices.cuda import Cuda
from fastconv.bench.entrant import NOT_OFFERED
from fastconv.bench.event import Rules, record
from fastconv.bench.gpu import cli as command
from fastconv.bench.gpu import problems, steps, training
from fastconv.bench.gpu.steps import Notebook, SkippedError, StepError, names
from fastconv.bench.problems import Problem
from fastconv.bench.results import load, save
from tests.cuda.told import LIMIT, POOL, SPEEDS, ToldClock, results

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


def test_what_a_contestant_does_not_offer_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def held(*_: Any) -> Iterator[Any]:
        yield record(POOL, "forward", "torch", [1.0])
        yield record(POOL, "forward", "fastconv.cuda:gemm", trouble=f"{NOT_OFFERED}no such rung [cuda13]")

    monkeypatch.setattr(contest, "hold", held)
    output = io.StringIO()
    notebook = Notebook.opened(tmp_path / "card.json", anew=True)
    steps.hold_contest(notebook, [], Rules(1), Console(file=output, markup=False, width=120))
    assert len(load(tmp_path / "card.json").records) == 2
    assert "fastconv.cuda:gemm: not offered: no such rung [cuda13]" in output.getvalue()


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
