"""A validation split: training images kept aside to judge the network by while it trains."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastconv.models.data.dataset import Dataset
from fastconv.models.data.images import Images, part
from fastconv.models.errors import ModelsError


class Held(NamedTuple):
    """Images (N, C, H, W) and labels (N,) that are not trained on."""

    images: Images
    labels: Tensor


def hold_out(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, Held | None]:
    """Returns ``dataset`` without ``share`` (0..1) of its training images, and those; None for a share of 0.

    The ``seed`` chooses which.

    Raises ModelsError where that leaves either side without an image.
    """
    if share == 0:
        return dataset, None
    count = len(dataset.train_labels)
    held = round(share * count)
    if not 0 < held < count:
        raise ModelsError(
            f"a share of {share:g} for validation is {held} of {count} images; both sides need one at least"
        )
    # The order of epoch 0, which is never trained.
    order = torch.from_numpy(np.random.default_rng((seed, 0)).permutation(count))
    aside, kept = order[:held].sort().values, order[held:].sort().values
    images, labels = dataset.train_images, dataset.train_labels
    rest = replace(dataset, train_images=part(images, kept), train_labels=labels[kept])
    return rest, Held(part(images, aside), labels[aside])
