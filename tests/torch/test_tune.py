"""`convert(tune=batch)`: which layers become fastconv's is decided by times, here by made-up ones."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fastconv
import fastconv.torch as fct
from fastconv.backends.im2col import Im2col
from fastconv.torch import ConvBlock2d, Sequential, convert, kept, measuring, revert
from fastconv.torch.measuring import CALLS, TURNS, Work, race
from fastconv.torch.modules import Layer
from tests.probes import needs_fast_way

Cost = Callable[[nn.Module], float]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setattr(kept, "folder", lambda: tmp_path / "fastconv")
    return tmp_path / "fastconv"


@pytest.fixture
def races(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets a function of a module give its seconds; returns the list of the modules that raced."""

    def install(cost: Cost) -> list[list[nn.Module]]:
        raced: list[list[nn.Module]] = []

        def fake(contestants: list[Work], **_: Any) -> list[float]:
            modules = [getattr(work.function, "__self__", work.function) for work in contestants]
            raced.append(modules)
            return [cost(module) for module in modules]

        monkeypatch.setattr(measuring, "race", fake)
        return raced

    return install


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 4, 3, padding=1)),
        nn.Dropout(0.5),
        nn.AvgPool2d(2),
    )


X = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def ours(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, (Layer, Sequential))]


def costs(faster: tuple[type, ...], switch: float = 0.0) -> Cost:
    """Seconds: a layer of torch's 1, one of fastconv's 0.5 if it is ``faster``, else 2; ``switch`` more in a model."""

    def cost(module: nn.Module) -> float:
        if list(module.children()):
            return sum(cost(child) + switch * isinstance(child, Layer) for child in module.children())
        if not isinstance(module, Layer):
            return 1.0
        return 0.5 if isinstance(module, faster) else 2.0

    return cost


def test_faster_layers_are_taken_and_slower_ones_stay_torchs(races) -> None:
    races(costs((nn.Conv2d,)))
    model = network()
    assert convert(model, "im2col", tune=X) is model
    assert ours(model) == ["0", "4.0", "4.2"]
    assert type(model[3]) is nn.MaxPool2d
    assert "backend='im2col'" in repr(model[0])
    assert revert(model) is model
    assert str(model) == str(network())


def test_layers_that_were_converted_become_torchs_again(races) -> None:
    races(costs((nn.MaxPool2d,)))
    model = convert(network(), "im2col")
    convert(model, "im2col", tune=X)
    assert ours(model) == ["3"]
    assert type(model[0]) is nn.Conv2d
    assert "backend" not in repr(model[0])


def test_the_filter_and_layers_made_as_fastconvs_are_kept(races) -> None:
    races(costs(()))
    model = nn.Sequential(ConvBlock2d(1, 2, 3, backend="naive"), nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 1))
    convert(model[2], "naive")
    convert(model, "im2col", filter=lambda name, _: name != "2", tune=X)
    assert ours(model) == ["0", "2"]
    assert (model[0].backend, model[2].backend) == ("im2col", "naive")


def test_a_win_of_less_than_a_twentieth_is_none(races) -> None:
    races(lambda module: 0.96 if isinstance(module, Layer) else 1.0)
    assert ours(convert(network(), "im2col", tune=X)) == []


def test_what_makes_the_whole_model_slower_goes_back(races, caplog: pytest.LogCaptureFixture) -> None:
    """The layers that gain least first; in the end all of them."""
    gains = {1: 0.9, 4: 0.1}  # by input channels: the first convolution gains little, the others much

    def cost(module: nn.Module) -> float:
        if list(module.children()):
            own = [m for m in module.modules() if isinstance(m, Layer)]
            return 10.0 + (1.0 if len(own) > 2 else -1.0 if own else 0.0)
        return gains.get(getattr(module, "in_channels", 0), 2.0) if isinstance(module, Layer) else 1.0

    raced = races(cost)
    with caplog.at_level(logging.INFO, "fastconv"):
        model = convert(network(), "im2col", tune=X)
    assert ours(model) == ["4.0"]
    assert "half of them go back" in caplog.text
    races(costs((nn.Conv2d,), switch=9.0))
    model = convert(network(), "naive", tune=X)
    assert ours(model) == []
    assert type(model[0]) is nn.Conv2d
    assert len(raced) == 7  # four kinds of layers; the model with all of them, two rounds with fewer


def test_all_layers_are_taken_where_the_model_with_all_is_the_fastest(races) -> None:
    """Although single layers lose: what lies between layers counts in the model alone."""

    def cost(module: nn.Module) -> float:
        if list(module.children()):
            return 10.0 - sum(isinstance(m, Layer) for m in module.modules())
        return 2.0 if isinstance(module, nn.MaxPool2d) else 0.5 if isinstance(module, Layer) else 1.0

    races(cost)
    model = convert(network(), "im2col", tune=X)
    assert type(model[3]) is fct.MaxPool2d
    races(costs((nn.Conv2d,)))
    assert type(convert(network(), "im2col", tune=X)[3]) is nn.MaxPool2d


def test_what_it_did_is_logged(races, caplog: pytest.LogCaptureFixture) -> None:
    races(costs((nn.Conv2d,)))
    with caplog.at_level(logging.INFO, "fastconv"):
        convert(network(), "im2col", tune=X)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "0 (Conv2d): torch 1000.000 ms, fastconv 500.000 ms, fastconv's"
    assert lines[1].endswith("fastconv 2000.000 ms, torch's")
    assert lines[-1].startswith("with 3 of 5 layers by fastconv the model takes")


def test_equal_layers_are_measured_once_and_times_are_kept_on_disk(races, cache: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Tanh(), nn.Conv2d(1, 1, 3, padding=1)).eval()
    raced = races(costs((nn.Conv2d,)))
    convert(model, "im2col", tune=X)
    assert len(raced) == 2  # one layer, and the model
    (file,) = cache.iterdir()
    content = json.loads(file.read_text())
    assert list(content["layers"].values()) == [[1.0, 0.5]]
    assert content["conditions"] == kept.conditions()
    # In training the second layer's input has a gradient and the first one's has none, so they differ.
    for change, batch, new in (
        (lambda: model, X, 0),
        (model.train, X, 2),
        (model.double, X.double(), 2),
        (lambda: nn.Conv2d(1, 1, 3), X, 1),
    ):
        raced = races(costs((nn.Conv2d,)))
        convert(change(), "im2col", tune=batch)
        assert len(raced) == new + 1
    assert len(json.loads(file.read_text())["layers"]) == 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "\0",
        lambda text: "[]",
        lambda text: text.replace("0.5\n", "-1"),
        lambda text: text.replace("0.5\n", "NaN"),
        lambda text: text.replace("0.5\n", '"fast"'),
        lambda text: text.replace('"layers": {', '"layers": 3, "others": {'),
        lambda text: text.replace('"threads": "', '"threads": "9'),
        lambda text: '{"conditions": ' + "[" * 100_000,
    ],
)
def test_a_damaged_file_is_measured_anew(damage: Callable[[str], str], races, cache: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Tanh())
    races(costs((nn.Conv2d,)))
    convert(model, "im2col", tune=X)
    (file,) = cache.iterdir()
    sound = file.read_text()
    file.write_text(damage(sound))
    raced = races(costs((nn.Conv2d,)))
    convert(model, "im2col", tune=X)
    assert len(raced) == 2
    assert json.loads(file.read_text()) == json.loads(sound)


def test_where_nothing_can_be_written_nothing_is_kept(races, cache: Path) -> None:
    cache.write_text("a file where the folder would be")
    races(costs((nn.Conv2d,)))
    assert ours(convert(network(), "im2col", tune=X)) == ["0", "4.0", "4.2"]
    assert cache.read_text().startswith("a file")


def test_times_of_other_threads_are_not_taken(races, cache: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Tanh())
    races(costs((nn.Conv2d,)))
    convert(model, "im2col", tune=X)
    torch.set_num_threads(2)  # the fixture of all tests sets it back
    convert(model, "im2col", tune=X)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    ("length", "expected"), [(7, ["", "0", "3", "4", "4.0", "4.2", "6"]), (3, ["0", "4", "4.0", "4.2"])]
)
def test_sequences_are_chosen_as_a_whole_or_taken_apart(length: int, expected: list[str], races) -> None:
    """By a made-up time in which a sequence of this ``length`` is the only fast one."""

    def cost(module: nn.Module) -> float:
        if isinstance(module, Sequential):
            return 1.0 if len(module) == length else 50.0
        return costs((nn.Conv2d,))(module)

    races(cost)
    model = network()
    model[1] = nn.Tanh()  # so that layers of the outer one run together too
    convert(model, "im2col", fuse=True, tune=X)
    assert ours(model) == expected


def test_training_steps_are_measured_in_training_mode_only(races, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[bool] = []

    def fake(contestants: list[Work], **_: Any) -> list[float]:
        modes.extend(work.gradients for work in contestants)
        return [1.0] * len(contestants)

    monkeypatch.setattr(measuring, "race", fake)
    convert(network().train(), "im2col", tune=X)
    assert set(modes) == {True}
    modes.clear()
    convert(network().eval(), "im2col", tune=X)
    assert set(modes) == {False}


def test_nothing_but_the_classes_changes(races) -> None:
    races(costs((nn.Conv2d,)))
    model = network().train()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    calls: list[Any] = []
    handle = model[3].register_forward_hook(lambda *_: calls.append(1))
    before, parameters, random = copy.deepcopy(model.state_dict()), list(model.parameters()), torch.get_rng_state()
    convert(model, "im2col", tune=X)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(one is other for one, other in zip(parameters, model.parameters(), strict=True))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert [parameter.grad is None for parameter in parameters][1:] == [True] * (len(parameters) - 1)
    assert all(module.training for module in model.modules())
    assert list(model[3]._forward_hooks) == [handle.id]


def test_wrong_values_are_found_before_anything_is_timed(races, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Im2col.conv2d
    monkeypatch.setattr(Im2col, "conv2d", lambda *args: right(*args) * 1.01)
    raced = races(costs((nn.Conv2d,)))
    model = network()
    with pytest.raises(RuntimeError, match="layer '0': fastconv's result differs from torch's"):
        convert(model, "im2col", tune=X)
    assert raced == []
    assert ours(model) == []


def test_wrong_gradients_are_found(races, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Im2col.conv2d_weight
    monkeypatch.setattr(Im2col, "conv2d_weight", lambda *args: right(*args) * 1.01)
    races(costs((nn.Conv2d,)))
    convert(network().eval(), "im2col", tune=X)
    with pytest.raises(RuntimeError, match="differs from torch's"):
        convert(network().train(), "im2col", tune=X)
    fused = convert(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), "im2col", fuse=True)
    monkeypatch.setattr(Im2col, "conv2d_weight", lambda *args: right(*args) * 1.1)
    with pytest.raises(RuntimeError, match="layer '': fastconv's result differs"):
        convert(revert(fused), "im2col", fuse=True, tune=X)


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (3, TypeError, "tune: got int, but it must be a tensor"),
        (torch.ones(1, 2, 8, 8), RuntimeError, "tune: got 1x2x8x8 float32, but the model fails on it: RuntimeError"),
        ({"image": X}, RuntimeError, "unexpected keyword argument"),
        (torch.ones(1, 1, 8, 8, device="meta"), RuntimeError, "a tensor on meta, but layers are measured on the CPU"),
    ],
)
def test_batches_that_do_not_fit(batch: Any, error: type, message: str) -> None:
    model = network()
    with pytest.raises(error, match=message):
        convert(model, "im2col", tune=batch)
    assert ours(model) == []


def test_models_that_cannot_be_copied_or_are_elsewhere() -> None:
    model = network()
    model.extra = torch.ones(1, requires_grad=True) * 2
    with pytest.raises(RuntimeError, match=r"model: got Sequential, but .* copy.deepcopy fails"):
        convert(model, "im2col", tune=X)
    with pytest.raises(RuntimeError, match=r"model: got 0.weight on meta"):
        convert(network().to("meta"), "im2col", tune=X)


def test_a_race_takes_the_best_call_of_turns() -> None:
    """By a clock that a call moves on: contestants alternate, the first call of each isn't timed."""
    now = 0.0
    order: list[str] = []

    def work(name: str, seconds: list[float]) -> Work:
        def call() -> torch.Tensor:
            nonlocal now
            order.append(name)
            now += seconds[order.count(name) % len(seconds)]
            return X

        return Work(call, (), {}, [], False)

    best = race([work("a", [5.0, 3.0, 4.0]), work("b", [2.0, 1.0])], seconds=1.0, clock=lambda: now)
    assert best == [3.0, 1.0]
    assert order[:2] == ["a", "b"]
    assert order[2:] == [*["a"] * CALLS, *["b"] * CALLS] * TURNS
    order.clear()
    race([work("a", [1.0])], seconds=100.0, clock=lambda: now)
    assert 100 <= len(order) - 1 < 100 + CALLS


class TestChannelsLast:
    """Layers that weren't told a backend leave float32 images in channels_last to torch."""

    LAYERS = (
        nn.Conv2d(3, 4, 3),
        nn.ConvTranspose2d(3, 4, 3),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(2),
        nn.AdaptiveMaxPool2d(2),
    )

    @needs_fast_way
    @pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
    def test_who_computes(self, layer: nn.Module, ran) -> None:
        x = torch.randn(2, 3, 8, 8)
        expected, last = layer(x), x.to(memory_format=torch.channels_last)
        mine = convert(copy.deepcopy(layer))
        torch.testing.assert_close(mine(last), layer(last), rtol=0, atol=0)
        assert ran == []
        torch.testing.assert_close(mine(x), expected)
        assert {name for name, _ in ran} == {"numba"}
        ran.clear()
        convert(mine, "im2col")(last)
        assert {name for name, _ in ran} == {"im2col"}
        ran.clear()
        convert(mine).double()(last.double())
        assert {name for name, _ in ran} == {"numba"}

    def test_what_was_chosen_runs(self, ran) -> None:
        mine, last = convert(nn.MaxPool2d(2)), torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
        with fastconv.use_backend("im2col"):
            mine(last)
        assert {name for name, _ in ran} == {"im2col"}

    def test_tracers_see_fastconvs_operators(self) -> None:
        mine, last = convert(nn.Conv2d(3, 4, 3)), torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
        expected = mine(last)
        exported = torch.export.export(mine, (last,))
        assert "fastconv.conv2d" in str(exported.graph)
        torch.testing.assert_close(exported.module()(last), expected)
        (gradient,) = torch.autograd.grad(mine(last).sum(), mine.bias)
        transformed = torch.func.grad(lambda bias: torch.func.functional_call(mine, {"bias": bias}, last).sum())
        torch.testing.assert_close(transformed(mine.bias.detach()), gradient)

    @needs_fast_way
    def test_a_channels_last_weight_counts(self, ran) -> None:
        mine = convert(nn.Conv2d(3, 4, 3)).to(memory_format=torch.channels_last)
        assert mine(torch.randn(2, 3, 8, 8)).is_contiguous(memory_format=torch.channels_last)
        assert ran == []
