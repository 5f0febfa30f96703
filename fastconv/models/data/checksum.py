"""A data set's checksum tells whether a training goes on with the data that it began with."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from fastconv.models.data.dataset import Dataset
from fastconv.models.data.images import Images, OnDemand

CHUNK = 4096
"""Images that are hashed at a time."""


def checksum(dataset: Dataset) -> str:
    """Returns the SHA-256, hexadecimal, of all labels and of all pixels as bytes, 0..255.

    The pixels are bytes, as files hold them: the last bits of a normalised pixel may differ between machines.
    """
    digest = hashlib.sha256()
    for images, labels in (
        (dataset.train_images, dataset.train_labels),
        (dataset.test_images, dataset.test_labels),
    ):
        digest.update(repr(tuple(images.shape)).encode())
        digest.update(labels.numpy().astype("<i8").tobytes())
        for start in range(0, len(images), CHUNK):
            digest.update(_pixels(images, slice(start, start + CHUNK), dataset).numpy().tobytes())
    return digest.hexdigest()


def _pixels(images: Images, chunk: slice, dataset: Dataset) -> Tensor:
    if isinstance(images, OnDemand):
        return images.pixels[chunk]
    return (images[chunk] * (255 * dataset.deviation)).add_(255 * dataset.mean).round_().clamp_(0, 255).to(torch.uint8)
