"""A run to look into: LeNet-5 after two epochs of a few digits."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from fastconv.models import cli, data
from fastconv.models.data.dataset import Dataset
from fastconv.models.training.settings import settings
from fastconv.models.training.train import train


@pytest.fixture(scope="session")
def kept_run(all_digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, not to be written to."""
    few = replace(all_digits, train_images=all_digits.train_images[:250], train_labels=all_digits.train_labels[:250])
    console = Console(file=StringIO())
    path = tmp_path_factory.mktemp("runs") / "lenet5-torch"
    return train(settings("lenet5", "torch", seed=3, epochs=2), few, console, path).path


@pytest.fixture
def run(kept_run: Path, tmp_path: Path) -> Path:
    """A copy of it for each test."""
    return Path(shutil.copytree(kept_run, tmp_path / "run"))


@pytest.fixture
def short_digits(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """All data sets are these few digits."""
    monkeypatch.setattr(data, "load", lambda *_: digits)
    return digits


def change(run: Path, **values: Any) -> None:
    """Set keys of the run's configuration, or with None take them away; ``dataset__mean`` is one of the data set."""
    config = json.loads((run / "config.json").read_text())
    for key, value in values.items():
        *above, name = key.split("__")
        place = config[above[0]] if above else config
        if value is None:
            del place[name]
        else:
            place[name] = value
    (run / "config.json").write_text(json.dumps(config))


def command(*arguments: str, **environment: str) -> Result:
    """What ``fastconv models`` does with the words."""
    return CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "120", "TERM": "dumb", **environment})
