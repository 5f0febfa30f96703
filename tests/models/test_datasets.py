"""Data sets by name: what each is, what is substituted and what never is, and the tensors that come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from fastconv.models.data import DATASETS, load
from fastconv.models.data.dataset import Dataset, prepare
from fastconv.models.data.split import Split
from fastconv.models.errors import DownloadError, ModelsError


def printed(console: Console) -> str:
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_digits_are_the_same_every_time(all_digits: Dataset, console: Console) -> None:
    again = load("digits", None, console)
    assert torch.equal(again.train_images, all_digits.train_images)
    assert torch.equal(again.test_labels, all_digits.test_labels)
    assert printed(console) == ""


def test_digits_are_all_there(all_digits: Dataset) -> None:
    assert all_digits.train_images.shape == (1437, 1, 28, 28)
    assert all_digits.test_images.shape == (360, 1, 28, 28)
    assert all_digits.shape == (1, 28, 28)
    labels = torch.cat([all_digits.train_labels, all_digits.test_labels])
    assert torch.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    images = torch.cat([all_digits.train_images, all_digits.test_images]).flatten(1)
    assert len(images.unique(dim=0)) == 1797  # so no test image is a training image


def test_tensors_are_normalised_by_the_training_pixels(all_digits: Dataset) -> None:
    assert all_digits.train_images.dtype == all_digits.test_images.dtype == torch.float32
    assert all_digits.train_labels.dtype == all_digits.test_labels.dtype == torch.int64
    assert all_digits.train_images.mean().item() == pytest.approx(0, abs=1e-5)
    assert all_digits.train_images.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert all_digits.test_images.mean().item() != pytest.approx(0, abs=1e-5)


def test_pixels_can_be_had_back() -> None:
    random = np.random.default_rng(0)
    train, test = (Split(random.integers(0, 256, (n, 3, 4), np.uint8), np.zeros(n, np.uint8)) for n in (9, 5))
    dataset = prepare("random", train, test)
    pixels = (dataset.test_images * dataset.deviation + dataset.mean) * 255
    np.testing.assert_allclose(pixels.squeeze(1), test.images, atol=1e-3)


def test_constant_images_stay_finite() -> None:
    split = Split(np.full((4, 3, 3), 7, np.uint8), np.zeros(4, np.uint8))
    assert prepare("constant", split, split).train_images.abs().max() < 1e-6


def test_any_data_set_by_folder(idx_folder: Path, console: Console) -> None:
    dataset = load("folder", idx_folder, console)
    assert dataset.name == idx_folder.name
    assert dataset.train_images.shape == (40, 1, 28, 28)


def test_folder_needs_a_folder(console: Console) -> None:
    with pytest.raises(ModelsError, match="--data-dir"):
        load("folder", None, console)


def test_unknown_name_lists_the_known(console: Console) -> None:
    with pytest.raises(ModelsError, match="'nist'") as caught:
        load("nist", None, console)
    assert all(name in str(caught.value) for name in DATASETS)


def test_mnist_is_never_substituted(console: Console) -> None:
    with pytest.raises(DownloadError, match=r"can't download .*--dataset digits"):
        load("mnist", None, console)


def test_auto_says_in_one_line_that_it_takes_the_digits(console: Console, all_digits: Dataset) -> None:
    dataset = load("auto", None, console)
    assert dataset.name == "digits"
    assert torch.equal(dataset.train_images, all_digits.train_images)
    assert printed(console).count("\n") == 1
    assert "No MNIST files" in printed(console)


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_a_named_folder_is_never_substituted(name: str, idx_folder: Path, console: Console) -> None:
    with pytest.raises(ModelsError, match="not the original file"):
        load(name, idx_folder, console)
    with pytest.raises(ModelsError, match="no such folder"):
        load(name, idx_folder / "nowhere", console)


def test_auto_prefers_mnist(idx_folder: Path, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastconv.models.data.mnist.SHA256", {})
    assert load("auto", idx_folder, console).name == "mnist"
    assert printed(console) == ""
