"""What a call costs is measured for every kind of array beside the peers, and beyond the kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import fastconv
from fastconv.bench import calls, cli
from fastconv.bench.problems import ProblemError


def test_every_contestant_is_timed() -> None:
    threads = fastconv.get_num_threads()
    costs = calls.measure(size=6, channels=2, calls=5, turns=2)
    assert fastconv.get_num_threads() == threads
    names = {each.contestant for each in costs if each.operation == "conv2d"}
    assert names == {
        *(calls.KERNEL, "arrays", "plan", "plan, out=", "tensors", "plan, tensors", "torch", "onnxruntime")
    }
    for operation in ("max_pool2d", "avg_pool2d"):
        found = {each.contestant for each in costs if each.operation == operation}
        assert found == {calls.KERNEL, "arrays", "tensors", "torch", "onnxruntime"}
    kernels = {each.operation: each.seconds for each in costs if each.contestant == calls.KERNEL}
    assert all(0 < seconds < float("inf") for seconds in kernels.values())
    assert all(each.beyond == each.seconds - kernels[each.operation] for each in costs)


def test_a_long_problem_tells_nothing_of_calls() -> None:
    with pytest.raises(ProblemError, match="too long"):
        calls.measure(size=400, channels=1, calls=1, turns=1)


def test_the_command() -> None:
    done = CliRunner().invoke(cli.app, ["calls", "--size", "5", "--calls", "3", "--turns", "1"])
    assert done.exit_code == 0, done.output
    assert "beyond the kernel" in done.output
    assert "onnxruntime" in done.output
    assert "Forward and backward" in done.output
    lines = [line for line in done.output.splitlines() if "conv" in line and "_n1 " in line]
    assert len(lines) == 7
    assert "geometric mean" in done.output


def test_ratios_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 1 ours is faster; where onnxruntime isn't installed there is no ratio."""
    both = {"arrays": 2e-6, "plan": 1e-6, "onnxruntime": 4e-6}
    times = {("one", name): time for name, time in both.items()} | {("two", "arrays"): 1e-6}
    monkeypatch.setattr(calls, "_best", lambda *_: times)
    cells = [list(column.cells) for column in calls.layer_table(1, 1).columns]
    assert cells == [
        *(["one", "two", "geometric mean"], ["2.00", "1.00", ""], ["1.00", "-", ""], ["4.00", "-", ""]),
        ["2.00", "-", "2.00"],
    ]


def test_both_passes_of_layers_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each contestant computes torch's gradients, of all its operands."""
    made = calls._passes(size=6, channels=2)
    assert list(made) == ["conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d"]
    grad, found = torch.autograd.grad, list[Any]()
    monkeypatch.setattr(torch.autograd, "grad", lambda *given: found.append(grad(*given)))
    for layer, contestants in made.items():
        found.clear()
        assert list(contestants) == ["tensors", "torch"]
        for repeat in contestants.values():
            repeat(1)
        mine, theirs = found
        assert len(mine) == (2 if "conv" in layer else 1)
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_ratios_of_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 1 ours is faster."""
    monkeypatch.setattr(calls, "_best", lambda *_: {("one", "tensors"): 2e-6, ("one", "torch"): 5e-6})
    cells = [list(column.cells) for column in calls.training_table(8, 1, 1, 1).columns]
    assert cells == [["one"], ["2.00"], ["5.00"], ["2.50"]]


def test_a_problem_that_takes_too_long_is_an_error() -> None:
    assert "error: " in CliRunner().invoke(cli.app, ["calls", "--size", "400", "--turns", "1"]).output
