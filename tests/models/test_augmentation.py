"""Augmentation: where each pixel goes, that the seed and the epoch decide it, and how far."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import ModelsError
from fastconv.models.training.augmentation import Augmentation, Moves
from fastconv.models.training.batches import Batches
from fastconv.models.training.settings import settings

IMAGES = torch.arange(3 * 2 * 5 * 4, dtype=torch.float32).view(3, 2, 5, 4)


def moves(down: int = 0, right: int = 0, degrees: float = 0.0) -> Moves:
    """The same for the three images."""
    return Moves(
        torch.full((3,), down), torch.full((3,), right), torch.full((3,), math.radians(degrees), dtype=torch.float64)
    )


def shifted(images: Tensor, down: int, right: int) -> Tensor:
    """By hand: each pixel from where it was, or the nearest of the border."""
    height, width = images.shape[2:]
    rows = [min(max(row - down, 0), height - 1) for row in range(height)]
    columns = [min(max(column - right, 0), width - 1) for column in range(width)]
    return images[:, :, rows][:, :, :, columns]


@pytest.mark.parametrize("right", [-2, 0, 1])
@pytest.mark.parametrize("down", [-1, 0, 2])
def test_shifts_are_whole_pixels(down: int, right: int) -> None:
    numbers = torch.tensor([2, 0])
    expected = shifted(IMAGES, down, right)[numbers]
    assert torch.equal(Augmentation(IMAGES, 2, 0.0).batch(numbers, moves(down, right)), expected)
    turning = Augmentation(IMAGES, 2, 5.0).batch(numbers, moves(down, right))  # by nothing
    torch.testing.assert_close(turning, expected)


@pytest.mark.parametrize(("degrees", "turns"), [(90.0, 1), (180.0, 2), (-90.0, 3)])
def test_right_angles_are_exact(degrees: float, turns: int) -> None:
    """A positive angle turns clockwise, since rows count downwards; ``rot90`` turns the other way."""
    square = IMAGES[:, :, :4]
    turned = Augmentation(square, 0, 180.0).batch(torch.arange(3), moves(degrees=degrees))
    torch.testing.assert_close(turned, torch.rot90(square, -turns, (2, 3)), atol=1e-3, rtol=0)


def test_an_image_is_turned_without_stretching() -> None:
    """A quarter turn of 5 x 4: the middle 3 x 3 columns and rows stay on whole or half pixels, in proportion."""
    wide = torch.zeros(1, 1, 5, 9)
    wide[0, 0, 2, 1:8] = 1.0  # a horizontal bar of seven
    quarter = Moves(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), torch.tensor([math.pi / 2]))
    turned = Augmentation(wide, 0, 90.0).batch(torch.arange(1), quarter)[0, 0]
    expected = torch.zeros(5, 9)
    expected[:, 4] = 1.0  # a vertical one, as much of it as there are rows
    torch.testing.assert_close(turned, expected, atol=1e-5, rtol=0)


def test_turned_then_shifted() -> None:
    square = IMAGES[:, :, :4]
    turned = torch.rot90(square, -1, (2, 3))
    both = Augmentation(square, 1, 180.0).batch(torch.arange(3), moves(0, 1, 90.0))
    torch.testing.assert_close(both[..., 1:], turned[..., :-1], atol=1e-3, rtol=0)


def test_moves_are_of_the_seed_and_the_epoch_and_within_bounds() -> None:
    augmentation = Augmentation(torch.zeros(2000, 1, 8, 8), 3, 10.0)
    first = augmentation.moves(0, 1)
    for part, again in zip(first, augmentation.moves(0, 1), strict=True):
        assert torch.equal(part, again)
    for seed, epoch in ((0, 2), (1, 1)):
        assert not torch.equal(augmentation.moves(seed, epoch).down, first.down)
    for part in (first.down, first.right):
        assert part.unique().tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert not torch.equal(first.down, first.right)
    largest = first.angle.abs().max().item()
    assert math.radians(9.9) < largest <= math.radians(10)
    assert abs(first.angle.mean().item()) < math.radians(1)


def test_a_batch_has_its_images_moves(digits: Dataset) -> None:
    """Whatever the batch size, an image of an epoch is moved in the same way."""
    seen = []
    for size in (32, 250):
        chosen = settings("lenet5", "torch", shift=2, rotation=8.0, batch_size=size)
        batches = list(Batches(chosen, digits).epoch(3))
        assert sum(batch.joint for batch in batches) == 250
        seen.append(torch.cat([batch.images for batch in batches]))
    torch.testing.assert_close(seen[0], seen[1])
    order = np.random.default_rng((0, 3)).permutation(250)
    plain = digits.train_images[torch.from_numpy(order)]
    assert not torch.equal(seen[0], plain)
    unmoved = torch.cat([batch.images for batch in Batches(settings("lenet5", "torch"), digits).epoch(3)])
    assert torch.equal(unmoved, plain)


def test_a_shift_out_of_sight_is_one_line(digits: Dataset) -> None:
    small = replace(digits, train_images=digits.train_images[:, :, :20])
    with pytest.raises(ModelsError, match="the shift is 20 pixels; images of 20 x 28 can be moved by fewer only"):
        Batches(settings("lenet5", "torch", shift=20), small)
