"""Where a step's time goes: that nothing of it is lost, and that each operator counts for its part."""

from __future__ import annotations

from io import StringIO
from itertools import islice
from time import sleep
from typing import Any

import pytest
import torch
from rich.console import Console
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile
from typer.testing import CliRunner, Result

from fastconv import registry
from fastconv.models import data
from fastconv.models.cli import app
from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import ModelsError
from fastconv.models.profiling import measure
from fastconv.models.profiling.measure import Profile, by_part, profiles
from fastconv.models.profiling.parts import DATA, OTHERS, PYTHON, Part, order, part
from fastconv.models.profiling.table import profile_table
from fastconv.models.training.batches import Batches
from fastconv.models.training.loop import begin
from fastconv.models.training.settings import settings
from tests.probes import by_fast_way

NAP = 0.02
"""Seconds."""


def recorded(network: str, backend: str, dataset: Dataset, steps: int = 2) -> list[FunctionEvent]:
    """The profiler's records of some training steps, as a profile takes them."""
    chosen = settings(network, backend)
    training = measure._steps(begin(chosen, dataset.shape, 10), Batches(chosen, dataset))
    next(training)
    with profile(activities=[ProfilerActivity.CPU]) as run:
        list(islice(training, steps))
    return list(run.events())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["fastconv::conv2d_block"], Part("convolution")),
        (["aten::empty", "fastconv::conv2d_block_backward", "_BlockBackward"], Part("convolution")),
        (["aten::mkldnn_convolution", "aten::_convolution", "aten::conv2d"], Part("convolution")),
        (["fastconv::max_pool2d_values"], Part("pooling")),
        (["aten::avg_pool2d"], Part("pooling")),
        (["_MaxPool2d"], Part("pooling")),
        (["_AvgPool2dBackward", "autograd::engine::evaluate_function: _AvgPool2dBackward"], Part("pooling", True)),
        (["_Conv2d"], Part("convolution")),
        (
            ["_ChainedBackward", "autograd::engine::evaluate_function: _ChainedBackward"],
            Part("layers in one step", True),
        ),
        (["aten::new_empty", "_Block"], Part("convolution")),
        (["aten::avg_pool3d"], Part(OTHERS)),  # of local response normalisation
        (["aten::clamp_min", "aten::relu"], Part("activations")),
        (
            ["aten::mm", "AddmmBackward0", "autograd::engine::evaluate_function: AddmmBackward0"],
            Part("linear layers", True),
        ),
        (["TanhBackward0", "autograd::engine::evaluate_function: TanhBackward0"], Part("activations", True)),
        (["aten::_log_softmax", "aten::log_softmax"], Part("loss")),
        (["aten::addcmul_", "Optimizer.step#Adam.step"], Part("optimiser")),
        (["aten::sub_", DATA], Part("data")),
        (["aten::cat"], Part(OTHERS)),
        (["autograd::engine::evaluate_function: CatBackward0"], Part(OTHERS, True)),
    ],
    ids=lambda value: str(value) if isinstance(value, Part) else value[0],
)
def test_operators_belong_to_their_callers_part(names: list[str], expected: Part) -> None:
    assert part(names) == expected


@pytest.mark.parametrize("name", ["torch", "im2col", "numba"])
def test_nothing_is_lost(digits: Dataset, name: str) -> None:
    """All parts together are all the time of the outermost operators, which the profiler knows without us."""
    events = recorded("small_cnn", name, digits)
    whole = sum(event.cpu_time_total for event in events if event.cpu_parent is None) / 1e6
    assert sum(by_part(events).values()) == pytest.approx(whole, rel=1e-6)


def test_other_threads_do_not_count(digits: Dataset) -> None:
    events = recorded("mlp", "torch", digits, 1)
    expected = by_part(events)
    foreign = FunctionEvent(1, "aten::mm", thread=events[0].thread + 1, start_us=0, end_us=10**9)
    assert by_part([*events, foreign]) == expected


@pytest.mark.parametrize("name", ["torch", "im2col"])
def test_every_part_is_found_both_ways(digits: Dataset, name: str) -> None:
    """Of a backend that does a block's layers one by one; what nobody claims is what joins them."""
    found = by_part(recorded("small_cnn", name, digits))
    both = {
        Part(of, way)
        for of in ("convolution", "pooling", "activations", "linear layers", "loss")
        for way in (False, True)
    }
    others = {Part(OTHERS), Part(OTHERS, True)}
    assert set(found) == both | others | {Part("data"), Part("optimiser")}
    assert all(seconds > 0 for seconds in found.values())


def test_layers_that_run_together_are_one_part(digits: Dataset) -> None:
    found = set(by_part(recorded("small_cnn", "numba", digits)))
    together = {Part("layers in one step"), Part("layers in one step", True)}
    apart = {Part("convolution"), Part("pooling"), Part("pooling", True), Part("activations")}
    assert found & together == by_fast_way(together)
    assert found & apart == apart - by_fast_way(apart)


@pytest.mark.parametrize(
    ("primitive", "slow"),
    [
        ("max_pool2d", Part("pooling")),
        ("max_pool2d_gradient", Part("pooling", True)),
        ("conv2d", Part("convolution")),
        ("conv2d_weight", Part("convolution", True)),
    ],
)
def test_what_is_slow_shows(digits: Dataset, monkeypatch: pytest.MonkeyPatch, primitive: str, slow: Part) -> None:
    """A nap in a primitive, twice a step, is in its own part and in no other, since the parts add up."""
    backend = registry.get("im2col")
    original = getattr(backend, primitive)

    def sleepy(*arguments: Any) -> Any:
        sleep(NAP)
        return original(*arguments)

    monkeypatch.setattr(backend, primitive, sleepy)
    assert by_part(recorded("small_cnn", "im2col", digits, 2))[slow] > 4 * NAP


def test_slow_data_shows(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = torch.index_select

    def sleepy(images: torch.Tensor, axis: int, batch: Any) -> torch.Tensor:
        if images is digits.train_images:
            sleep(NAP)
        return taken(images, axis, batch)

    monkeypatch.setattr(torch, "index_select", sleepy)
    assert by_part(recorded("mlp", "torch", digits, 2))[Part("data")] > 2 * NAP


def test_the_parts_are_those_of_a_step_left_alone(
    digits: Dataset, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is the mean of the steps before recording, however much longer the recorded ones take."""
    lengths = iter([9.0] * measure.WARM_UP_STEPS + [1.0, 2.0, 3.0] + [40.0, 30.0, 20.0])
    real = measure.epoch_steps

    def steps(*arguments: Any) -> Any:
        for step in real(*arguments):
            yield step._replace(seconds=next(lengths))

    monkeypatch.setattr(measure, "epoch_steps", steps)
    (found,) = profiles(settings("lenet5"), digits, 3, console, ["im2col,conv2=torch"])
    assert found.backend == "im2col,conv2=torch"
    assert found.step == pytest.approx(2.0)
    assert sum(found.seconds.values()) == pytest.approx(2.0)
    assert set(found.seconds) <= set(order())
    assert found.seconds[Part(PYTHON)] > 1.9  # the operators took some milliseconds of the 90 seconds


def test_layers_that_run_together_can_be_told_apart(digits: Dataset, console: Console) -> None:
    together, apart = [
        profiles(settings("lenet5"), digits, 2, console, ["numba"], separate=separate)[0].seconds
        for separate in (False, True)
    ]
    layers = {Part("convolution"), Part("convolution", True), Part("linear layers")}
    one = {Part("layers in one step")}
    assert one & set(together) == by_fast_way(one)
    assert layers & set(together) == layers - by_fast_way(layers)
    assert layers <= set(apart)
    assert Part("layers in one step") not in apart


def test_the_profiler_says_nothing_itself(digits: Dataset, console: Console, capfd: pytest.CaptureFixture[str]) -> None:
    assert len(profiles(settings("mlp"), digits, 1, console, ["torch", "auto"])) == 2
    assert capfd.readouterr() == ("", "")


def test_the_table_has_every_part_and_the_whole(digits: Dataset) -> None:
    fast = Profile("numba", 0.002, {Part("convolution"): 0.0015, Part(PYTHON): 0.0005})
    slow = Profile("torch", 0.004, {Part("pooling", True): 0.003, Part(PYTHON): 0.001})
    console = Console(file=StringIO(), width=100)
    console.print(profile_table(settings("lenet5"), digits, [fast, slow]))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines() if line[0] == "│"]
    assert rows == [
        ["convolution", "1.50 ms", "75.0%", "", ""],
        ["pooling, backward", "", "", "3.00 ms", "75.0%"],
        ["Python and dispatch", "0.50 ms", "25.0%", "1.00 ms", "25.0%"],
        ["a step", "2.00 ms", "100%", "4.00 ms", "100%"],
        ["an epoch, 3 steps", "0.0 s", "", "0.0 s", ""],
    ]
    assert "100 images of 1 x 28 x 28" in shown


@pytest.fixture
def run(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(data, "load", lambda *_: digits)

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["profile", *words], env={"COLUMNS": "120", "TERM": "dumb"})

    return run


def test_command_shows_the_runs_choice_beside_torch(run: Any) -> None:
    result = run("lenet5", "--steps", "1")
    assert result.exit_code == 0, result.output
    assert result.output.index(" auto ") < result.output.index(" torch ")
    assert "by torch's profiler" in result.output
    result = run("lenet5", "--steps", "1", "--backend", "torch")
    assert " auto " not in result.output


def test_a_layer_that_a_backend_cannot_do_costs_one_line(run: Any) -> None:
    result = run("alexnet", "--backend", "numba:depthwise", "--steps", "1")
    assert result.exit_code == 1
    assert "can't do conv2d" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lenet5", "--steps", "0"], "the number of steps is 0; it must be at least 1 and at most 10,000"),
        (["lenet5", "--steps", "10001"], "the number of steps is 10001"),
        (["lenet5", "--backend", "torch", "--backend", "fast"], "no backend is called 'fast'"),
        (["lenet5", "--backend", "torch", "--backend", "conv9=torch"], "no layer with a backend is called 'conv9'"),
        (["lenet6"], "no network is called 'lenet6'"),
        (["four_layer_cnn"], "64 x 64 or more"),
        (["lenet5", "--dataset", "nist"], "no data set is called 'nist'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_cost_one_line(run: Any, words: list[str], says: str) -> None:
    result = run(*words)
    assert result.exit_code == ModelsError.exit_code
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
