"""Images for an open run: the right ones, normalised as the run wants them, and none that it can't take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from models import data
from models.data.dataset import Dataset
from models.errors import ModelsError
from models.inspection.datasets import load_for
from models.inspection.trained import open_run
from tests.models.inspection.conftest import change


def test_the_runs_own(run: Path, all_digits: Dataset, console: Console) -> None:
    found = load_for(open_run(str(run)).facts, None, None, console)
    assert found.name == "digits"
    assert torch.equal(found.test_images, all_digits.test_images)


def test_a_folder_goes_by_its_own_name(run: Path, idx_folder: Path, console: Console) -> None:
    change(run, dataset__name=idx_folder.name)
    facts = open_run(str(run)).facts
    assert load_for(facts, None, idx_folder, console).name == idx_folder.name
    with pytest.raises(ModelsError, match="--data-dir"):
        load_for(facts, None, None, console)


def test_another_is_normalised_as_the_runs_was(run: Path, idx_folder: Path, console: Console) -> None:
    facts = open_run(str(run)).facts
    plain = data.load("folder", idx_folder, console)
    found = load_for(facts, "folder", idx_folder, console)
    assert (found.mean, found.deviation) == (facts.mean, facts.deviation) != (plain.mean, plain.deviation)
    torch.testing.assert_close(
        found.test_images * facts.deviation + facts.mean, plain.test_images * plain.deviation + plain.mean
    )


def test_other_sizes_and_classes_are_refused(
    run: Path, digits: Dataset, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = open_run(str(run)).facts
    large = replace(digits, train_images=torch.zeros(250, 3, 32, 32))
    monkeypatch.setattr(data, "load", lambda *_: large)
    with pytest.raises(ModelsError, match="digits has images of 3 x 32 x 32; the run was trained on 1 x 28 x 28"):
        load_for(facts, None, None, console)
    more = replace(digits, test_labels=digits.test_labels + 3)
    monkeypatch.setattr(data, "load", lambda *_: more)
    with pytest.raises(ModelsError, match="digits has a class 12; the run knows 10"):
        load_for(facts, None, None, console)
