"""Packed runs: all that is needed, nothing of the machine, small enough to give away."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import ModelsError
from fastconv.models.inspection import packing
from fastconv.models.inspection.evaluation import evaluate
from fastconv.models.inspection.log import read_log
from fastconv.models.inspection.packing import pack
from fastconv.models.inspection.trained import KEPT, names, open_run


def test_it_is_the_same_run(run: Path) -> None:
    opened = open_run(str(run))
    sizes = pack(opened, Path("small"))
    again = open_run("small")
    assert again.facts == opened.facts
    for name, weight in again.model.state_dict().items():
        assert torch.equal(weight, opened.model.state_dict()[name])
    kept = read_log(Path("small"))
    assert kept.of("test_loss") == read_log(run).of("test_loss")
    assert not kept.steps
    assert sizes == {path.name: path.stat().st_size for path in Path("small").iterdir()}


@pytest.mark.parametrize("folder", [None, *names()])
def test_nothing_tells_of_the_machine(run: Path, folder: str | None) -> None:
    if folder is None:
        pack(open_run(str(run)), Path("small"))
    packed = KEPT / folder if folder else Path("small")
    config = json.loads((packed / "config.json").read_text())
    assert config.pop("source", {"data_dir": None})["data_dir"] is None
    assert set(config) == {"network", "backend", "recipe", "seed", "dataset"}
    allowed = {"name", "shape", "classes", "train_images", "test_images", "mean", "deviation", "preprocessing"}
    assert set(config["dataset"]) <= allowed
    assert "/" not in (packed / "config.json").read_text() + (packed / "log.jsonl").read_text()
    assert "seconds" not in (packed / "log.jsonl").read_text()


def test_large_weights_are_halved(run: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LARGEST", 200_000)
    opened = open_run(str(run))
    sizes = pack(opened, Path("small"))
    assert sizes["weights.safetensors"] < 0.51 * (run / "weights.safetensors").stat().st_size
    console = Console(quiet=True)
    found, expected = (evaluate(each, digits, console) for each in (open_run("small"), opened))
    assert found.loss == pytest.approx(expected.loss, rel=1e-2)
    for name, weight in open_run("small").model.state_dict().items():
        assert torch.equal(weight, opened.model.state_dict()[name].half().float())


def test_weights_beyond_half_precision_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LARGEST", 0)
    opened = open_run(str(run))
    opened.model.conv2.weight.data[0, 0, 0, 0] = 70_000
    with pytest.raises(ModelsError, match=r"conv2.weight has a weight beyond 65504"):
        pack(opened, Path("small"))
    assert not Path("small").exists()


def test_folders_that_cannot_be_used(run: Path) -> None:
    opened = replace(open_run(str(run)))
    before = sorted(run.iterdir())
    for folder in (run, run / "config.json", run / "config.json" / "below"):
        with pytest.raises(ModelsError, match="--out"):
            pack(opened, folder)
    assert sorted(run.iterdir()) == before
