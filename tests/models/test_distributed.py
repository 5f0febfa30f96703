"""Several processes: together they do what one does with the joint batch, and stop together."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import chdir
from dataclasses import replace
from io import StringIO
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from fastconv.models import cli
from fastconv.models.data import load
from fastconv.models.data.dataset import Dataset
from fastconv.models.training import train
from fastconv.models.training.config import parse
from fastconv.models.training.distributed import ALONE, Group, launched
from fastconv.models.training.settings import settings
from tests.models.children import start
from tests.models.runs import go_on

ROOT = Path(cli.__file__).parents[2]
ROUNDING = 1e-5
TRAIN = ["train", "lenet5", "--backend", "torch", "--dataset", "digits"]
STEPS = 15
"""Of an epoch of 1,437 digits."""


def start_pair(folder: Path, *arguments: str) -> list[BaseProcess]:
    """Two processes as ``torchrun`` would start them, the second in a folder of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    pair = []
    for rank, place in (("0", folder), ("1", folder / "elsewhere")):
        with chdir(place):
            output = folder / f"said{rank}.txt"
            pair.append(start(output, *arguments, **found, RANK=rank, LOCAL_RANK=rank))
    return pair


def said(folder: Path) -> str:
    """By both."""
    return "".join((folder / f"said{rank}.txt").read_text() for rank in "01")


def position_of(path: Path) -> dict[str, Any]:
    """Where a run's checkpoint is."""
    content = (path / "checkpoint.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    position: dict[str, Any] = json.loads(header["__metadata__"]["run"])["position"]
    return position


def losses(path: Path) -> list[float]:
    records = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if record["event"] == "step"]


def test_two_processes_are_one_with_the_joint_batch(tmp_path: Path) -> None:
    """By torchrun. A batch of 359 leaves one image to the last step: one of the processes has none there."""
    given: dict[str, Any] = {"batch_size": 359, "shift": 1, "validation": 0.0}
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "fastconv",
        "models",
    ]
    options = ["--batch-size", "359", "--shift", "1", "--epochs", "1", "--run-dir", str(tmp_path / "two")]
    ran = subprocess.run(
        [*launcher, *TRAIN, *options], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("Summary") == 1
    console = Console(file=StringIO())
    data = load("digits", None, console)
    alone = train.train(settings("lenet5", "torch", epochs=1, **given), data, console, tmp_path / "one")
    assert len(losses(alone.path)) == 5
    assert losses(tmp_path / "two") == pytest.approx(losses(alone.path), rel=ROUNDING)
    weights = load_file(tmp_path / "two" / "weights.safetensors")
    for name, expected in load_file(alone.path / "weights.safetensors").items():
        torch.testing.assert_close(weights[name], expected, atol=ROUNDING, rtol=ROUNDING)
    files = {"checkpoint.safetensors", "config.json", "log.jsonl", "weights.safetensors"}
    assert {file.name for file in (tmp_path / "two").iterdir()} == files


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_all_stop_at_one_step_and_go_on_as_another_number(tmp_path: Path, all_digits: Dataset) -> None:
    """One is asked, two stop, the first has written all. The other's folder may be nowhere."""
    path, others = tmp_path / "run", tmp_path / "elsewhere"
    others.mkdir()
    pair = start_pair(tmp_path, *TRAIN, "--epochs", "100000", "--run-dir", "run")
    while not (path / "weights.safetensors").exists():
        assert all(child.is_alive() for child in pair), said(tmp_path)
        time.sleep(0.02)
    os.kill(pair[1].pid or 0, signal.SIGTERM)
    for child in pair:
        child.join(30)
    assert [child.exitcode for child in pair] == [128 + signal.SIGINT, 128 + signal.SIGTERM], said(tmp_path)
    assert said(tmp_path).count("go on with --resume run") == 1
    before, position = losses(path), position_of(path)
    assert len(before) == len(position["epochs"]) * STEPS + position["step"]
    epochs = len(position["epochs"]) + 1
    config = parse((path / "config.json").read_bytes(), path / "config.json")
    go_on(path, all_digits, recipe=replace(config.settings.recipe, epochs=epochs))
    assert losses(path)[: len(before)] == before
    assert len(losses(path)) == epochs * STEPS
    # And as two again, of which only the first has the folder to read.
    pair = start_pair(tmp_path, "train", "--resume", "run", "--epochs", str(epochs + 1))
    for child in pair:
        child.join(60)
        assert child.exitcode == 0, said(tmp_path)
    assert len(losses(path)) == (epochs + 1) * STEPS


def test_shares_are_all_of_it() -> None:
    for rows in (0, 1, 2, 7, 100):
        numbers = torch.arange(rows)
        for size in (1, 2, 3):
            shares = [Group(rank, size).share(numbers) for rank in range(size)]
            assert torch.equal(torch.cat(shares), numbers)
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_there_is_nothing_to_wait_for() -> None:
    assert ALONE.total(1.5, True) == [1.5, True]
    assert ALONE.spread(b"all") == b"all"
    assert ALONE.leads
    assert ALONE.threads is None
    ALONE.wait()
    assert not launched()


def test_a_machines_processes_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert Group(0, 4, 0, 2).threads == 4
    assert Group(0, 40, 0, 20).threads == 1
