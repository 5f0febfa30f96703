"""``fastconv bench networks``: a contest of whole networks, from a module of one's own to the tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fastconv.bench.cli import app
from fastconv.bench.networks.results import NetworkResults, Record, joined, load, save
from fastconv.bench.networks.table import tables, troubles

NETWORK = """
import torch
from torch import nn

def make():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(True), nn.MaxPool2d(2), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(36, 5),
    )
"""


def _invoke(*arguments: str):
    return CliRunner().invoke(app, ["networks", *arguments], env={"COLUMNS": "240"})


@pytest.mark.long
def test_a_network_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_network.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    out = tmp_path / "results.json"
    words = ["--model", "own_network:make", "--shape", "2,2,8,8", "--peers", "none", "--threads", "1"]
    done = _invoke(*words, "--bursts", "1", "--seconds", "0.001", "--out", str(out))
    assert done.exit_code == 0, done.output
    results = load(out)
    assert {record.mode for record in results.records} == {"inference", "training"}
    assert [record.contestant for record in results.records if record.mode == "training"] == [
        "torch",
        "fastconv.converted",
        "fastconv.fused",
        "fastconv.tuned",
        "fastconv.compiled",
    ]
    assert not troubles(results)
    for record in results.records:
        assert len(record.bursts) == 1
        assert record.error is not None
        assert record.error < 1e-2
    assert "own_network:make" in done.output


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--networks", "resnet19"], "resnet19"),
        (["--mode", "guessing"], "no mode is called guessing"),
        (["--peers", "abacus"], "no peer is called abacus"),
        (["--batch", "0"], "whole numbers from 1 on"),
        (["--model", "nowhere:make"], "--model and --shape go together"),
        (["--model", "nowhere_at_all:make", "--shape", "1,2,8,8"], "nowhere_at_all"),
        (["--networks", "resnet18", "--out", "/proc/nowhere/results.json"], "no results can be written there"),
    ],
)
def test_mistakes_are_named(words: list[str], error: str) -> None:
    done = _invoke(*words)
    assert done.exit_code == 2
    assert error in done.output
    assert "Traceback" not in done.output


def test_tables_of_speeds_over_torch(tmp_path: Path) -> None:
    def record(network: str, name: str, *bursts: float, trouble: str | None = None) -> Record:
        return Record("inference", 1, network, name, list(bursts), trouble, 1e-6, 2**20)

    first = NetworkResults({"threads": "2"}, [record("one", "torch", 0.2, 0.1), record("one", "fastconv.fused", 0.1)])
    later = NetworkResults(
        {"threads": "2"},
        [
            record("one", "fastconv.fused", 0.05),
            record("two", "torch", 0.1),
            record("two", "fastconv.fused", trouble="no memory"),
        ],
    )
    path = tmp_path / "results.json"
    save(joined([first, later]), path)
    results = load(path)
    times, _ = tables(results)
    cells = {row[0].text: row[2].text for row in times.rows}
    assert cells["one"].startswith("2.00")
    assert "failed" in cells["two"]
    assert troubles(results) == ["fastconv.fused, not timed: no memory (two inference 1)"]
