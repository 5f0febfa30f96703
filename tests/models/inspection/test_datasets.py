"""Images for an open run: the right ones, normalised as the run wants them, and none that it can't take."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from fastconv.models import data
from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import ModelsError
from fastconv.models.inspection.datasets import load_for
from fastconv.models.inspection.trained import open_run
from tests.models.inspection.conftest import change, command


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
    for classes, says in (
        (("a", *"123456789"), r"digits has a and lacks 0, unlike the classes that the run knows \(0, 1, 2, 3"),
        (tuple("0123456789x"), "digits has x, unlike"),
        (tuple("012345678"), "digits lacks 9, unlike"),
        (tuple(f"class {number}" for number in range(1000)), "class 9 and 990 more and lacks 0, 1,"),
    ):
        other = replace(digits, classes=classes)
        monkeypatch.setattr(data, "load", lambda *_, other=other: other)
        with pytest.raises(ModelsError, match=says):
            load_for(facts, None, None, console)


def test_classes_are_matched_by_name(
    run: Path, digits: Dataset, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(digits, classes=tuple("9876543210"))
    monkeypatch.setattr(data, "load", lambda *_: other)
    found = load_for(open_run(str(run)).facts, None, None, console)
    assert torch.equal(found.test_labels, 9 - digits.test_labels)
    assert found.classes == tuple("0123456789")


@pytest.mark.parametrize("dataset", [None, "folder"])
def test_the_runs_own_folder_comes_before_the_environments(
    run: Path, idx_folder: Path, tmp_path: Path, console: Console, dataset: str | None
) -> None:
    """A named folder comes before both, and the environment's counts where the run knows none."""
    environments = Path(shutil.copytree(idx_folder, tmp_path / "environments"))
    own = {"dataset": "folder", "data_dir": str(idx_folder), "size": None, "channels": None}
    change(run, source=own)
    facts = open_run(str(run)).facts
    assert load_for(facts, dataset, None, console, environments).name == "data"
    assert load_for(facts, dataset, environments, console).name == "environments"
    change(run, source={**own, "data_dir": None})
    assert load_for(open_run(str(run)).facts, dataset, None, console, environments).name == "environments"


def test_the_environment_changes_no_evaluation(run: Path, idx_folder: Path, tmp_path: Path) -> None:
    environments = Path(shutil.copytree(idx_folder, tmp_path / "environments"))
    change(run, source={"dataset": "folder", "data_dir": str(idx_folder), "size": None, "channels": None})
    for words in (("evaluate", str(run)), ("show", "features", str(run))):
        result = command(*words, FASTCONV_DATA=str(environments))
        assert result.exit_code == 0, result.output
        assert "environments" not in result.output
        assert "environments" in command(*words, "--data-dir", str(environments), FASTCONV_DATA="nowhere").output
