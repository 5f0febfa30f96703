"""Checkpoints that are no good: each is refused in one line that names the file, and the run is left as it is."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from rich.console import Console

from models.data.dataset import Dataset
from models.errors import ModelsError
from models.training import checkpoint, train
from models.training.config import describe, identity, parse
from models.training.loop import begin
from models.training.position import Position
from models.training.settings import Settings, settings
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


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda config: "{", "is no configuration of a run"),
        (lambda config: "[1]", "is no configuration of a run"),
        (lambda config: json.dumps({**config, "seed": "0"}), "seed is '0'"),
        (lambda config: json.dumps({**config, "seed": True}), "seed is True"),
        (lambda config: json.dumps({**config, "recipe": {"epochs": 1}}), "batch_size is missing"),
        (lambda config: json.dumps({**config, "recipe": {**config["recipe"], "x": 1}}), "x is unknown"),
        (lambda config: json.dumps({name: config[name] for name in config if name != "source"}), "'source' is missing"),
        (lambda config: json.dumps({**config, "dataset": {}}), "'sha256' is missing"),
    ],
)
def test_configurations_are_checked(run: Path, change: Callable[[dict[str, object]], str], says: str) -> None:
    path = run / "config.json"
    with pytest.raises(ModelsError, match=says) as caught:
        parse(change(json.loads(path.read_text())).encode(), path)
    assert str(path) in str(caught.value)


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
