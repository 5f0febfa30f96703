"""Runs for tests: trained, stopped at a step by a signal, gone on with, and compared."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import StoppedError
from fastconv.models.training import train
from fastconv.models.training.config import parse
from fastconv.models.training.loop import Training
from fastconv.models.training.settings import Settings

SPEEDS = ("seconds", "images_per_second")
"""What is not the same in two runs of the same settings."""


def go_on(path: Path, dataset: Dataset, **changed: Any) -> train.TrainedRun:
    """Resume the run in the folder ``path``, with these of its settings changed."""
    config = parse((path / "config.json").read_bytes(), path / "config.json")
    chosen = Settings(**{**vars(config.settings), **changed})
    return train.resume(path, chosen, config, dataset, Console(file=StringIO()))


@contextmanager
def stopped_in(step: int, number: int = signal.SIGINT) -> Iterator[None]:
    """Whoever trains inside gets a signal in the middle of this step (the first is 1), which must stop it."""
    learn, count = Training.learn, 0

    def asked(self: Training, batch: Any) -> Any:
        nonlocal count
        count += 1
        if count == step:
            signal.raise_signal(number)
        return learn(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "learn", asked)
        with pytest.raises(StoppedError) as caught:
            yield
    assert count == step
    assert caught.value.exit_code == 128 + number


def kept(path: Path) -> dict[str, Any]:
    """What a run's folder holds, by file, without speeds and dates."""
    content: dict[str, Any] = {}
    for file in path.iterdir():
        data = file.read_bytes()
        if file.name == "log.jsonl":
            lines = [json.loads(line) for line in data.splitlines()]
            content[file.name] = [{name: line[name] for name in line if name not in SPEEDS} for line in lines]
        elif file.name == "config.json":
            content[file.name] = {name: value for name, value in json.loads(data).items() if name != "started"}
        elif file.name == "checkpoint.safetensors":
            content[file.name] = _without_speeds(data)
        else:
            content[file.name] = data
    return content


def _without_speeds(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The facts and the tensors' bytes of a checkpoint. Speeds make the log's length vary, too."""
    size = int.from_bytes(content[:8], "little")
    facts = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["run"])
    del facts["log_length"]
    for part in (facts["position"], *facts["position"]["epochs"]):
        for name in SPEEDS:
            part.pop(name, None)
    return facts, content[8 + size :]
