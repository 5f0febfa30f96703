"""Stopped and gone on with, a run is as if it had never been stopped: every file, to the bit."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import ModelsError, StoppedError, TrainingError
from fastconv.models.training import run as run_module
from fastconv.models.training import train
from fastconv.models.training.loop import Training
from fastconv.models.training.run_folder import RunFolder
from fastconv.models.training.settings import Settings, settings
from tests.models.runs import go_on, kept, stopped_in

STEPS = 3
"""Of an epoch: 250 images, 100 a step."""
FILES = {"checkpoint.safetensors", "config.json", "log.jsonl", "weights.safetensors"}

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"backend": "torch"},
    "dropout, sgd, cosine": {
        "network": "dropout_cnn",
        "optimizer": "sgd",
        "momentum": 0.5,
        "schedule": "cosine",
        "learning_rate": 0.02,
    },
    "moved, decay, held out": {
        "shift": 2,
        "rotation": 9.0,
        "weight_decay": 0.05,
        "validation": 0.2,
        "schedule": "one-cycle",
        "batch_size": 60,
    },
    "float16": {"precision": "float16"},
    "float64": {"precision": "float64", "backend": "im2col", "schedule": "step"},
    "bfloat16": {"precision": "bfloat16"},
}


def chosen(**given: Any) -> Settings:
    return settings(**{"network": "lenet5", "backend": "numba", "epochs": 2, **given})


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_anywhere_a_run_goes_on_to_the_bit(
    digits: Dataset, console: Console, tmp_path: Path, kind: str
) -> None:
    """In the middle of an epoch, at its end, twice: each time in a training of its own."""
    how = chosen(**KINDS[kind])
    whole = train.train(how, digits, console, tmp_path / "whole")
    run = tmp_path / "run"
    with stopped_in(2):
        train.train(how, digits, console, run)
    torch.rand(7)  # whatever happened in between doesn't count
    with stopped_in(1, signal.SIGTERM):
        go_on(run, digits)
    with stopped_in(2):
        go_on(run, digits)
    gone_on = go_on(run, digits)
    assert kept(run) == kept(whole.path)
    assert set(kept(run)) == FILES
    assert [epoch.test_loss for epoch in gone_on.epochs] == [epoch.test_loss for epoch in whole.epochs]
    assert gone_on.kept.number == whole.kept.number


@pytest.mark.parametrize("step", range(1, 2 * STEPS + 1))
def test_any_step(digits: Dataset, console: Console, tmp_path: Path, step: int) -> None:
    """Between the last step and its test included."""
    whole = train.train(chosen(backend="torch"), digits, console, tmp_path / "whole")
    with stopped_in(step):
        train.train(chosen(backend="torch"), digits, console, tmp_path / "run")
    go_on(tmp_path / "run", digits)
    assert kept(tmp_path / "run") == kept(whole.path)


def test_on_another_backend_to_rounding(digits: Dataset, console: Console, tmp_path: Path) -> None:
    """And the log says so."""
    whole = train.train(chosen(backend="torch"), digits, console, tmp_path / "whole")
    with stopped_in(2):
        train.train(chosen(backend="torch"), digits, console, tmp_path / "run")
    go_on(tmp_path / "run", digits, backend="numba")
    weights, expected = (load_file(path / "weights.safetensors") for path in (tmp_path / "run", whole.path))
    for name, weight in weights.items():
        torch.testing.assert_close(weight, expected[name], atol=1e-4, rtol=1e-3)
    records = kept(tmp_path / "run")["log.jsonl"]
    assert records[2] == {"event": "resume", "backend": "numba"}


def test_more_epochs(digits: Dataset, console: Console, tmp_path: Path) -> None:
    """Two, then two more, are four; the configuration says four then."""
    whole = train.train(chosen(backend="torch", epochs=3), digits, console, tmp_path / "whole")
    run = train.train(chosen(backend="torch", epochs=2), digits, console, tmp_path / "run")
    longer = chosen(backend="torch", epochs=3)
    go_on(run.path, digits, recipe=longer.recipe)
    assert kept(run.path) == kept(whole.path)
    fewer = chosen(backend="torch", epochs=1)
    with pytest.raises(ModelsError, match="3 epochs are done already"):
        go_on(run.path, digits, recipe=fewer.recipe)
    assert kept(run.path) == kept(whole.path)


@pytest.mark.parametrize("step", [1, 2, STEPS, STEPS + 1])
def test_more_epochs_in_the_middle_of_one(digits: Dataset, console: Console, tmp_path: Path, step: int) -> None:
    """Stopped in an epoch of two, gone on with as three: as if three had been asked for from the first."""
    whole = train.train(chosen(backend="torch", epochs=3), digits, console, tmp_path / "whole")
    with stopped_in(step):
        train.train(chosen(backend="torch", epochs=2), digits, console, tmp_path / "run")
    with stopped_in(1):
        go_on(tmp_path / "run", digits, recipe=chosen(epochs=3).recipe)
    assert go_on(tmp_path / "run", digits).kept.number == 3
    assert kept(tmp_path / "run") == kept(whole.path)


def test_fewer_epochs_in_the_middle_of_one(digits: Dataset, console: Console, tmp_path: Path) -> None:
    """Two of three, when the second is begun, are two from the first; one is too few, and changes nothing."""
    whole = train.train(chosen(backend="torch", epochs=2), digits, console, tmp_path / "whole")
    run = tmp_path / "run"
    with stopped_in(STEPS + 1):
        train.train(chosen(backend="torch", epochs=3), digits, console, run)
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    says = "epoch 2 is begun; --epochs must be 2 or more"
    with pytest.raises(ModelsError, match=says):
        go_on(run, digits, recipe=chosen(epochs=1).recipe)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
    go_on(run, digits, recipe=chosen(epochs=2).recipe)
    assert kept(run) == kept(whole.path)


def test_finished_is_left_as_it_is(digits: Dataset, console: Console, tmp_path: Path) -> None:
    run = train.train(chosen(backend="torch", epochs=1), digits, console, tmp_path / "run")
    before = {file.name: file.read_bytes() for file in run.path.iterdir()}
    again = go_on(run.path, digits, backend="im2col")
    assert {file.name: file.read_bytes() for file in run.path.iterdir()} == before
    assert again == run


def test_killed_before_the_first_checkpoint(digits: Dataset, console: Console, tmp_path: Path) -> None:
    """Only the configuration is there, and half a line of the log."""
    whole = train.train(chosen(backend="torch"), digits, console, tmp_path / "whole")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_bytes((whole.path / "config.json").read_bytes())
    (run / "log.jsonl").write_text('{"event": "st')
    go_on(run, digits)
    assert kept(run) == kept(whole.path)


def test_killed_between_checkpoint_and_weights(
    digits: Dataset, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train.train(chosen(backend="torch"), digits, console, tmp_path / "whole")
    saved = RunFolder.save_weights

    def killed(self: RunFolder, weights: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(RunFolder, "save_weights", killed)
    with pytest.raises(SystemExit):
        train.train(chosen(backend="torch"), digits, console, tmp_path / "run")
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    monkeypatch.setattr(RunFolder, "save_weights", saved)
    with stopped_in(1):
        go_on(tmp_path / "run", digits)
    assert (tmp_path / "run" / "weights.safetensors").exists()
    go_on(tmp_path / "run", digits)
    assert kept(tmp_path / "run") == kept(whole.path)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """As at a terminal: in a shell's background it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_second_ctrl_c_ends_at_once(
    digits: Dataset, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a step, without a checkpoint of it."""

    def twice(self: Training, batch: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("still there")

    run = train.train(chosen(backend="torch", epochs=1), digits, console, tmp_path / "run")
    before = kept(run.path)
    monkeypatch.setattr(Training, "learn", twice)
    with pytest.raises(StoppedError, match="stopped at once; go on from its last checkpoint with --resume") as caught:
        go_on(run.path, digits, recipe=chosen().recipe)
    assert caught.value.exit_code == 130
    assert kept(run.path)["weights.safetensors"] == before["weights.safetensors"]
    with pytest.raises(StoppedError, match="nothing was kept"):
        train.train(chosen(backend="torch"), digits, console, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_full_disk_costs_one_line_and_no_checkpoint(
    digits: Dataset, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fills up when the second epoch's checkpoint is written; with room again all goes on to the bit."""
    whole = train.train(chosen(backend="torch"), digits, console, tmp_path / "whole")
    save, saved = RunFolder.save_checkpoint, []

    def full(self: RunFolder, content: bytes) -> None:
        saved.append(content)
        if len(saved) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, content)

    monkeypatch.setattr(RunFolder, "save_checkpoint", full)
    run = tmp_path / "run"
    says = "No space left on device.*; make room and go on with --resume, or begin elsewhere with --run-dir"
    with pytest.raises(TrainingError, match=says):
        train.train(chosen(backend="torch"), digits, console, run)
    assert (run / "checkpoint.safetensors").read_bytes() == saved[0]
    monkeypatch.setattr(RunFolder, "save_checkpoint", save)
    go_on(run, digits)
    assert kept(run) == kept(whole.path)


def test_other_images_are_refused(digits: Dataset, console: Console, tmp_path: Path) -> None:
    run = train.train(chosen(backend="torch", epochs=1), digits, console, tmp_path / "run")
    before = kept(run.path)
    other = replace(digits, test_images=digits.test_images.clone())
    other.test_images[99, 0, 27, 27] += 1
    relabelled = replace(digits, train_labels=digits.train_labels.flip(0))
    for wrong in (other, relabelled):
        with pytest.raises(ModelsError, match="began with other images than those of digits here"):
            go_on(run.path, wrong)
    assert kept(run.path) == before


def test_early_stopping(digits: Dataset, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epoch 2 is the best of those held out; two epochs later the training is over, and 2's weights are kept."""
    losses = {1: 0.9, 2: 0.5, 3: 0.5, 4: 0.7, 5: 0.1}
    score, seen = run_module.score, []

    def scored(model: Any, images: torch.Tensor, *rest: Any) -> tuple[float, float]:
        if len(images) == 50:
            seen.append({name: weight.clone() for name, weight in model.state_dict().items()})
            return 0.5, losses[len(seen)]
        return score(model, images, *rest)

    monkeypatch.setattr(run_module, "score", scored)
    how = chosen(backend="torch", epochs=5, validation=0.2, patience=2)
    run = train.train(how, digits, console, tmp_path / "run")
    assert [epoch.validation_loss for epoch in run.epochs] == [0.9, 0.5, 0.5, 0.7]
    assert run.kept.number == 2
    assert run.held == 50
    weights = load_file(run.path / "weights.safetensors")
    assert all(torch.equal(weight, seen[1][name]) for name, weight in weights.items())
    assert not torch.equal(weights["conv1.weight"], seen[3]["conv1.weight"])
    records = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert [record["validation_loss"] for record in records if record["event"] == "epoch"] == [0.9, 0.5, 0.5, 0.7]
    assert sum(record["images"] for record in records if record["event"] == "step") == 4 * 200
    assert go_on(run.path, digits) == run  # it is over
    (run.path / "weights.safetensors").unlink()
    with pytest.raises(ModelsError, match=r"weights\.safetensors: those of epoch 2 are gone"):
        go_on(run.path, digits)
