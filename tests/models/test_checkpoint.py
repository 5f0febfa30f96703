"""Checkpoints that are no good: each is refused in one line that names the file, and the run is left as it is."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as hypothesis_settings
from rich.console import Console

from fastconv.models.data.dataset import Dataset
from fastconv.models.data.source import Source
from fastconv.models.errors import ModelsError
from fastconv.models.inspection.facts import read_facts
from fastconv.models.training import checkpoint, train
from fastconv.models.training.config import describe, identity, parse
from fastconv.models.training.loop import begin
from fastconv.models.training.position import Position
from fastconv.models.training.settings import Settings, settings
from tests.models.inspection.conftest import change
from tests.models.runs import go_on

CHECKPOINT = "checkpoint.safetensors"


@pytest.fixture
def run(digits: Dataset, console: Console, tmp_path: Path) -> Path:
    """A run of one epoch."""
    return train.train(settings("lenet5", "torch", epochs=1), digits, console, tmp_path / "run").path


def repacked(content: bytes, **tensors: torch.Tensor | None) -> bytes:
    """With other tensors, and a checksum that says they belong there."""
    size = int.from_bytes(content[:8], "little")
    text = json.loads(content[8 : 8 + size])["__metadata__"]["run"]
    held = safetensors.torch.load(content) | tensors
    held = {name: tensor for name, tensor in held.items() if tensor is not None}
    return safetensors.torch.save(held, {"run": text, "sha256": checkpoint._checksum(text, held)})


def retold(content: bytes, **facts: object) -> bytes:
    """With other facts, and a checksum that says so."""
    size = int.from_bytes(content[:8], "little")
    text = json.dumps(json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["run"]) | facts)
    held = safetensors.torch.load(content)
    return safetensors.torch.save(held, {"run": text, "sha256": checkpoint._checksum(text, held)})


def flipped(content: bytes) -> bytes:
    """One bit of the last weight."""
    return content[:-1] + bytes([content[-1] ^ 1])


NOWHERE = vars(Position())
FAULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut short": (lambda content: content[:-1000], "damaged, or no safetensors file"),
    "one byte": (lambda content: b"x", "damaged, or no safetensors file"),
    "pickle": (lambda content: pickle.dumps({"model": 1}), "damaged, or no safetensors file"),
    "one bit": (flipped, "damaged, its content isn't what its checksum says"),
    "metadata": (lambda content: content.replace(b"log_length", b"log_lenght"), "damaged, its content isn't"),
    "weights": (lambda _: safetensors.torch.save({"w": torch.ones(2)}), "a safetensors file, but no checkpoint"),
    "version": (lambda content: retold(content, version=2), "a checkpoint of another version"),
    "no position": (lambda content: retold(content, position=3), "is no checkpoint of a training"),
    "negative step": (lambda content: retold(content, position={**NOWHERE, "step": -1}), "no such position"),
    "no epoch": (lambda content: retold(content, position={**NOWHERE, "epochs": [{"number": 1}]}), "is missing"),
    "missing": (lambda content: repacked(content, **{"model.conv1.bias": None}), "has no model.conv1.bias"),
    "extra": (lambda content: repacked(content, **{"model.conv9.bias": torch.ones(1)}), "has a model.conv9.bias"),
    "shape": (lambda content: repacked(content, **{"model.conv1.bias": torch.ones(7)}), r"conv1.bias is .* \(7,\), "),
    "type": (
        lambda content: repacked(content, **{"optimizer.dense2.bias.exp_avg": torch.ones(10, dtype=torch.float64)}),
        r"exp_avg is torch.float64 \(10,\), lenet5 has torch.float32 \(10,\)",
    ),
    "half a memory": (
        lambda content: repacked(content, **{"optimizer.dense2.bias.step": None}),
        "has no optimizer.dense2.bias.step",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_cost_one_line(run: Path, digits: Dataset, fault: str) -> None:
    change, says = FAULTS[fault]
    content = change((run / CHECKPOINT).read_bytes())
    (run / CHECKPOINT).write_bytes(content)
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    with pytest.raises(ModelsError, match=says) as caught:
        go_on(run, digits)
    assert str(run / CHECKPOINT) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seed": 1}, "its seed is 1, the run's 0"),
        ({"learning_rate": 0.5}, "its learning_rate is 0.5, the run's 0.001"),
        ({"network": "mlp"}, "its network is mlp, the run's lenet5"),
        ({"precision": "float64"}, "its precision is float64, the run's float32"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_runs_is_refused(
    run: Path, digits: Dataset, console: Console, tmp_path: Path, given: dict[str, object], says: str
) -> None:
    other = settings(**{"network": "lenet5", "backend": "torch", "epochs": 1, **given})  # type: ignore[arg-type]
    foreign = train.train(other, digits, console, tmp_path / "other").path
    (run / CHECKPOINT).write_bytes((foreign / CHECKPOINT).read_bytes())
    with pytest.raises(ModelsError, match=f"is of another run .{says}"):
        go_on(run, digits)


def test_of_an_untouched_training(digits: Dataset, tmp_path: Path) -> None:
    """The optimiser remembers nothing yet."""
    chosen = settings("lenet5", "torch")
    who = identity(describe(chosen, digits, None))
    content = checkpoint.pack(begin(chosen, digits.shape, 10), Position(), who, 0)
    again = begin(Settings(**{**vars(chosen), "seed": 5}), digits.shape, 10)
    assert checkpoint.restore(content, tmp_path, again, who) == (Position(), 0)
    first = begin(chosen, digits.shape, 10)
    for name, weight in again.model.state_dict().items():
        assert torch.equal(weight, first.model.state_dict()[name])
    assert not again.optimizer.state


NUMBERS = strategies.integers() | strategies.floats() | strategies.just(10**400)
ANY_JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | NUMBERS | strategies.text(),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(), inner, max_size=3),
    max_leaves=4,
)


@pytest.fixture
def described(digits: Dataset, tmp_path: Path) -> Path:
    """A folder of a configuration alone."""
    whole = describe(settings("lenet5", "torch"), digits, Source("digits"))
    (tmp_path / "config.json").write_text(json.dumps(whole))
    return tmp_path


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"seed": "0"}, "seed is '0'; it must be a whole number"),
        ({"seed": True}, "seed is True; it must be a whole number"),
        ({"seed": 1.0}, "seed is 1.0; it must be a whole number"),
        ({"seed": 2**32}, "the seed is 4294967296; it must be 0 to 4294967295"),
        ({"seed": 10**400}, "the seed is 1000"),
        ({"seed": None}, "seed is missing"),
        ({"sede": 0}, "'sede' is unknown; known are network, backend, recipe, seed"),
        ({"network": "lenet6"}, "no network is called 'lenet6'; the networks are"),
        ({"patience": "x"}, "patience is 'x'; it must be a whole number or null"),
        ({"patience": 3}, "patience needs a validation split"),
        ({"precision": "x"}, "no precision is called 'x'; the precisions are float32"),
        ({"validation": float("nan")}, "the share of images for validation is nan; it must be at least 0 and below 1"),
        ({"recipe": [1]}, r"recipe is \[1\]; it must be an object"),
        ({"recipe": None}, "recipe is missing"),
        ({"recipe__batch_size": None}, "recipe.batch_size is missing"),
        ({"recipe__batch_sise": 1}, "recipe.'batch_sise' is unknown; known are learning_rate, batch_size"),
        ({"recipe__batch_size": 0}, "the batch size is 0; it must be at least 1"),
        ({"recipe__learning_rate": "x" * 9999}, r"recipe.learning_rate is 'x*\.\.\.x*'; it must be a number"),
        ({"recipe__learning_rate": 10**400}, "recipe.learning_rate is 10"),
        ({"recipe__learning_rate": float("inf")}, "the learning rate is inf; it must be above 0"),
        ({"recipe__momentum": True}, "recipe.momentum is True; it must be a number"),
        ({"recipe__schedule": []}, r"recipe.schedule is \[\]; it must be a text"),
        ({"source": None}, "source is missing"),
        ({"source": 1}, "source is 1; it must be an object"),
        ({"source": {"dataset": "nist", "data_dir": None, "size": None, "channels": None}}, "no data set is called"),
        ({"source": {"dataset": "mnist", "data_dir": None, "size": -1, "channels": None}}, "the size of images is -1"),
        ({"dataset": []}, r"dataset is \[\]; it must be an object"),
        ({"dataset__sha256": None}, "dataset.sha256 is missing"),
        ({"dataset__sha256": 1}, "dataset.sha256 is 1; it must be a text"),
    ],
    ids=str,
)
def test_configurations_are_checked(described: Path, values: dict[str, object], says: str) -> None:
    path = described / "config.json"
    change(described, **values)
    with pytest.raises(ModelsError, match=f"is no configuration of a run that can go on: {says}") as caught:
        parse(path.read_bytes(), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 600


@given(strategies.data())
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_value_of_a_configuration_is_a_bug(described: Path, data: strategies.DataObject) -> None:
    """Whatever stands at a key: it is taken, or said to be wrong."""
    whole = json.loads((described / "config.json").read_text())
    parts = [whole, whole["recipe"], whole["source"], whole["dataset"], whole["dataset"]["preprocessing"]]
    place = data.draw(strategies.sampled_from(parts))
    place[data.draw(strategies.sampled_from(sorted(place)))] = data.draw(ANY_JSON)
    content = json.dumps(whole).encode()
    with suppress(ModelsError):
        parse(content, described / "config.json")
    (described / "other.json").write_bytes(content)
    with suppress(ModelsError):
        read_facts(described / "other.json")


@pytest.mark.parametrize(("content", "says"), [(b"", "is empty"), (None, "is gone, and weights.safetensors is there")])
def test_a_checkpoint_that_was_there_is_missed(run: Path, digits: Dataset, content: bytes | None, says: str) -> None:
    """A run never begins again by itself: its log and weights are left as they are."""
    path = run / "checkpoint.safetensors"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    before = (run / "log.jsonl").read_bytes()
    with pytest.raises(ModelsError, match=f"checkpoint.safetensors: {says}"):
        go_on(run, digits)
    assert (run / "log.jsonl").read_bytes() == before
