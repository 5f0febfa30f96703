"""The seed and the epoch alone decide which images each step sees, so that a training can go on at any step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastconv.models.data.dataset import Dataset
from fastconv.models.data.images import Images
from fastconv.models.training.augmentation import Augmentation
from fastconv.models.training.distributed import ALONE, Group
from fastconv.models.training.settings import Settings

CHANCE = 2
"""The stream of random numbers that seeds each step's dropout."""


class Batch(NamedTuple):
    """This process's images and labels of a step, the ``joint`` count of all processes' images, a seed for dropout."""

    images: Tensor
    labels: Tensor
    joint: int
    seed: int


class Batches:
    """The training images in the order of each epoch, in batches of which the last may be smaller."""

    def __init__(self, settings: Settings, dataset: Dataset, group: Group = ALONE) -> None:
        recipe = settings.recipe
        self._images, self._labels = dataset.train_images, dataset.train_labels
        moved = recipe.shift > 0 or recipe.rotation > 0
        self._augmentation = Augmentation(self._images, recipe.shift, recipe.rotation) if moved else None
        self._size, self._seed, self._group = recipe.batch_size, settings.seed, group

    def __len__(self) -> int:
        """Returns the number of batches in an epoch."""
        return math.ceil(len(self._labels) / self._size)

    def epoch(self, number: int, done: int = 0) -> Iterator[Batch]:
        """Yields the batches of epoch ``number`` (the first is 1), without the first ``done``."""
        count, device = len(self._labels), self._labels.device
        order = torch.from_numpy(np.random.default_rng((self._seed, number)).permutation(count)).to(device)
        seeds = np.random.SeedSequence((self._seed, number, CHANCE, self._group.rank)).generate_state(len(self))
        moves = self._augmentation.moves(self._seed, number) if self._augmentation else None
        for joint, seed in list(zip(torch.split(order, self._size), seeds.tolist(), strict=True))[done:]:
            mine = self._group.share(joint)
            if self._augmentation is None or moves is None:
                images = _taken(self._images, mine)
            else:
                images = self._augmentation.batch(mine, moves)
            yield Batch(images, self._labels[mine], len(joint), seed)


def _taken(images: Images, which: Tensor) -> Tensor:
    """Returns some images; of a tensor by a function that takes a third of the time of indexing."""
    return torch.index_select(images, 0, which) if isinstance(images, Tensor) else images[which]
