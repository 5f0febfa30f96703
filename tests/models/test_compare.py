"""The comparison: who takes part, that all see the same training, and that wrong results show."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
import torch
from rich.console import Console

import fastconv
from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import ModelsError
from fastconv.models.training import compare as module
from fastconv.models.training.batches import Batches
from fastconv.models.training.compare import Contestant, compare, disagreement, shared_steps
from fastconv.models.training.loop import Step, begin, epoch_steps
from fastconv.models.training.settings import Settings, settings
from fastconv.models.training.tables import comparison_report

ROUNDING = 1e-5
"""Relative, of a loss in the first three steps."""
FIELD = [backend.name for backend in fastconv.backends() if backend.name != "auto"]


@pytest.fixture
def lenet5() -> Settings:
    return settings("lenet5", "torch")


@pytest.fixture
def three_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is up after three steps, however long they take."""

    class Clock:
        looks = 0

        def __call__(self) -> float:
            self.looks += 1
            return self.looks // 4 * 8.0

    def contestant(*arguments: Any, run: Any = module._contestant) -> Contestant:
        monkeypatch.setattr(module, "perf_counter", Clock())
        result: Contestant = run(*arguments)
        return result

    monkeypatch.setattr(module, "_contestant", contestant)


def report(contestants: list[Contestant]) -> str:
    console = Console(file=StringIO(), width=100)
    console.print(comparison_report(contestants))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.usefixtures("three_steps")
def test_every_backend_trains_the_same(lenet5: Settings, digits: Dataset, console: Console) -> None:
    contestants = compare(lenet5, digits, 8.0, console)
    assert [one.backend for one in contestants] == ["torch", *(name for name in FIELD if name != "torch")]
    available = {backend.name for backend in fastconv.backends() if backend.available}
    training = begin(lenet5, digits.shape, 10)
    expected = [step.loss for step in epoch_steps(training, Batches(lenet5, digits), 1)]
    for one in contestants:
        if one.backend not in available:
            assert one.trouble
            continue
        assert one.trouble is None
        assert [step.images for step in one.steps] == [100, 100, 50]
        assert [step.loss for step in one.steps] == pytest.approx(expected, rel=ROUNDING)
        assert disagreement(one, contestants[0]) < ROUNDING


@pytest.mark.usefixtures("three_steps")
def test_a_wrong_backend_shows(
    lenet5: Settings, digits: Dataset, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thousandth more of conv1's weights in one backend alone: the fault that must be seen."""

    def faulty(settings: Settings, *data: Any) -> Any:
        training = begin(settings, *data)
        if settings.backend == "im2col":
            training.model.conv1.weight.data *= 1.001
        return training

    monkeypatch.setattr(module, "begin", faulty)
    contestants = {one.backend: one for one in compare(lenet5, digits, 8.0, console)}
    assert disagreement(contestants["im2col"], contestants["torch"]) > ROUNDING
    assert disagreement(contestants["torch"], contestants["torch"]) == 0


def test_time_ends_it_after_a_step_at_least(lenet5: Settings, digits: Dataset, console: Console) -> None:
    assert {len(one.steps) for one in compare(lenet5, digits, 0.0, console) if not one.trouble} == {1}


def test_a_failing_backend_is_a_result(
    lenet5: Settings, digits: Dataset, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(settings: Settings, *data: Any) -> Any:
        training = begin(settings, *data)
        if settings.backend == "im2col":
            training.model.forward = lambda images: 1 / 0  # type: ignore[method-assign]
        return training

    monkeypatch.setattr(module, "begin", failing)
    contestants = {one.backend: one for one in compare(lenet5, digits, 0.0, console)}
    assert contestants["im2col"].trouble == "ZeroDivisionError: division by zero"
    assert not contestants["im2col"].steps
    assert contestants["torch"].steps
    assert "im2col: ZeroDivisionError: division by zero" in report(list(contestants.values()))


def test_images_no_network_is_made_for_are_an_error(lenet5: Settings, digits: Dataset, console: Console) -> None:
    small = replace(digits, train_images=torch.zeros(250, 1, 20, 20))
    with pytest.raises(ModelsError, match="not 20 x 20"):
        compare(lenet5, small, 0.0, console)


def test_unavailable_backends_are_listed_with_their_reason(
    lenet5: Settings, digits: Dataset, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch_info = next(backend for backend in fastconv.backends() if backend.name == "torch")
    missing = replace(torch_info, name="gpu", available=False, reason="no GPU found; get one")
    monkeypatch.setattr(fastconv, "backends", lambda: (missing, torch_info))
    contestants = compare(lenet5, digits, 0.0, console)
    assert contestants[1] == Contestant("gpu", trouble="no GPU found; get one")
    assert "gpu: no GPU found; get one" in report(contestants)


def steps(*losses: float, seconds: float = 1.0) -> list[Step]:
    return [Step(loss, 100, 9.0 if not at else seconds) for at, loss in enumerate(losses)]


def test_figures() -> None:
    slow = Contestant("slow", steps(2.0))
    fast = Contestant("fast", steps(2.0, 1.1, 0.5, seconds=0.5))
    reference = Contestant("torch", steps(2.0, 1.0))
    assert slow.images_per_second == pytest.approx(100 / 9)  # there is no other step
    assert fast.images_per_second == pytest.approx(200)  # the first, of 9 s, isn't in it
    assert shared_steps([slow, fast, reference]) == 1
    assert disagreement(fast, reference) == pytest.approx(0.1)
    assert disagreement(slow, reference) == 0
    lines = report([reference, slow, fast]).splitlines()
    rows = [line.strip("│").split("│") for line in lines if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["fast", "200", "2.00", "3", "2.000000", "1.0e-01"],
        ["torch", "100", "1.00", "2", "2.000000", "0.0e+00"],
        ["slow", "11", "0.11", "1", "2.000000", "0.0e+00"],
    ]
    assert "loss: of step 1, the last that all made" in " ".join(lines)


def test_a_loss_of_zero_can_be_compared() -> None:
    assert disagreement(Contestant("a", steps(0.25)), Contestant("torch", steps(0.0))) == 0.25


def test_report_without_torch() -> None:
    assert "torch: not installed" in report([Contestant("torch", trouble="not installed"), Contestant("a", steps(1.0))])


def test_report_without_torch_measures_by_the_first() -> None:
    shown = report([Contestant("b", steps(2.0, 1.0)), Contestant("a", steps(2.0, 1.5, seconds=0.5))])
    assert "x first" in shown
    assert "first: b." in shown
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines() if line[0] == "│"]
    assert [(row[0], row[2], row[5]) for row in rows] == [("a", "2.00", "5.0e-01"), ("b", "1.00", "0.0e+00")]


def test_report_where_nothing_ran() -> None:
    assert "a: broken" in report([Contestant("a", trouble="broken")])
