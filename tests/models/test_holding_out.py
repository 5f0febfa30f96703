"""The validation split: which images, how many, and that they aren't trained on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import ModelsError
from fastconv.models.training.holding_out import hold_out


@pytest.fixture
def numbered(digits: Dataset) -> Dataset:
    """Image n is n everywhere, its label n, too."""
    numbers = torch.arange(250)
    return replace(digits, train_images=numbers.float().view(-1, 1, 1, 1), train_labels=numbers)


def test_each_image_is_on_one_side(numbered: Dataset) -> None:
    kept, held = hold_out(numbered, 0.1, 3)
    assert held is not None
    assert (len(kept.train_labels), len(held.labels)) == (225, 25)
    assert torch.equal(torch.cat([kept.train_labels, held.labels]).sort().values, numbered.train_labels)
    assert torch.equal(kept.train_images.flatten().long(), kept.train_labels)
    assert torch.equal(held.images.flatten().long(), held.labels)
    assert kept.test_images is numbered.test_images


def test_the_seed_chooses(numbered: Dataset) -> None:
    (_, one), (_, again), (_, other) = (hold_out(numbered, 0.1, seed) for seed in (3, 3, 4))
    assert one is not None
    assert again is not None
    assert other is not None
    assert torch.equal(one.labels, again.labels)
    assert not torch.equal(one.labels, other.labels)
    assert one.labels.float().std() > 30  # not a run of neighbours


def test_none(numbered: Dataset) -> None:
    assert hold_out(numbered, 0.0, 3) == (numbered, None)


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_side_without_images_is_one_line(numbered: Dataset, share: float) -> None:
    with pytest.raises(ModelsError, match=f"a share of {share} for validation is"):
        hold_out(numbered, share, 3)
