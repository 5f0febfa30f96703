"""What the trainer trains on: all images as one float32 tensor, ready before the first step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.data.idx import Bytes
from models.data.split import Split
from models.recipes import ImageShape


@dataclass(frozen=True)
class Dataset:
    """Normalised float32 images (N, 1, H, W) with int64 labels (N,), to train and to test on.

    ``classes`` are the names of what the labels count, from 0 on.
    ``mean`` and ``deviation`` are those of the training pixels on the scale 0..1; both splits are shifted and
    scaled by them.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: float
    deviation: float
    classes: tuple[str, ...]

    @property
    def shape(self) -> ImageShape:
        """(channels, height, width) of one image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width


def prepare(name: str, train: Split, test: Split, classes: tuple[str, ...] | None = None) -> Dataset:
    """The data set ``name`` from its two splits, normalised by the training pixels.

    ``classes`` None are the numbers from 0 to the largest label that is trained on.
    """
    mean, deviation = _mean_and_deviation(train.images)

    def normalised(images: Bytes) -> Tensor:
        pixels = torch.from_numpy(images).to(torch.float32).unsqueeze(1)  # (N, 1, H, W)
        return pixels.sub_(255 * mean).div_(255 * deviation)

    def labels(split: Split) -> Tensor:
        return torch.from_numpy(split.labels).to(torch.int64)

    if classes is None:
        classes = tuple(map(str, range(int(train.labels.max()) + 1)))
    return Dataset(
        name, normalised(train.images), labels(train), normalised(test.images), labels(test), mean, deviation, classes
    )


def _mean_and_deviation(images: Bytes) -> tuple[float, float]:
    """Of the pixels on the scale 0..1, from their histogram: exact, whatever the number of threads.

    One constant image has no deviation; 1 then stands in for it.
    """
    counts = np.bincount(images.ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = np.average(values, weights=counts)
    deviation = np.sqrt(np.average((values - mean) ** 2, weights=counts))
    return float(mean), float(deviation) or 1.0
