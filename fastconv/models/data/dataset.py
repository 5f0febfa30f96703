"""The trainer trains on a data set: normalised float32 images and their labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fastconv.models.data.form import THEIRS, Form
from fastconv.models.data.images import Images, Preparation, images_of
from fastconv.models.data.preprocessing import PICTURE, Preprocessing
from fastconv.models.data.split import Split
from fastconv.models.recipes import ImageShape


@dataclass(frozen=True)
class Dataset:
    """Normalised float32 images (N, C, H, W) with int64 labels (N,), to train and to test on.

    ``classes`` are the names of what the labels count, from 0 on.
    ``mean`` and ``deviation`` are those of the training pixels, before they were scaled, on the scale 0..1; both splits
    are shifted and divided by them. ``preprocessing`` says how a picture becomes an image like these.
    """

    name: str
    train_images: Images
    train_labels: Tensor
    test_images: Images
    test_labels: Tensor
    mean: float
    deviation: float
    classes: tuple[str, ...]
    preprocessing: Preprocessing

    @property
    def shape(self) -> ImageShape:
        """Returns (channels, height, width) of one image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width


def prepare(
    name: str,
    train: Split,
    test: Split,
    classes: tuple[str, ...] | None = None,
    form: Form = THEIRS,
    subject: str = PICTURE,
) -> Dataset:
    """Returns the data set ``name`` from its two splits, brought to ``form`` and normalised by the training pixels.

    If ``classes`` is None, they are named by the numbers from 0 to the largest training label. Grey images alone can be
    given other channels here. ``subject`` is what they show, one of
    :data:`fastconv.models.data.preprocessing.SUBJECTS`.
    """
    if classes is None:
        classes = tuple(map(str, range(int(train.labels.max()) + 1)))
    pixels = [_pixels(split, form) for split in (train, test)]
    _, channels, height, width = pixels[0].shape
    if form.size is not None:
        height = width = form.size
    preparation = Preparation((form.channels or channels, height, width), *_mean_and_deviation(pixels[0]))
    train_images, test_images = (images_of(some, preparation) for some in pixels)
    train_labels, test_labels = (torch.from_numpy(split.labels).to(torch.int64) for split in (train, test))
    of_pixels = (preparation.mean, preparation.deviation)
    how = Preprocessing(subject, channels, *pixels[0].shape[2:])
    return Dataset(name, train_images, train_labels, test_images, test_labels, *of_pixels, classes, how)


def _pixels(split: Split, form: Form) -> Tensor:
    """Returns the images' bytes (N, C, H, W), cut to a square if one is wanted."""
    pixels = torch.from_numpy(split.images)
    if pixels.ndim == 3:
        pixels = pixels.unsqueeze(1)
    if form.size is None:
        return pixels
    height, width = pixels.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[:, :, top : top + side, left : left + side]


def _mean_and_deviation(pixels: Tensor) -> tuple[float, float]:
    """Returns mean and deviation of the pixels on the scale 0..1, from their histogram: exact for any number of
    threads.

    One constant image has no deviation; 1 then stands in for it.
    """
    counts = torch.bincount(pixels.flatten(), minlength=256).numpy()  # NumPy's would widen all pixels to 64 bits
    values = np.arange(256) / 255
    mean = np.average(values, weights=counts)
    deviation = np.sqrt(np.average((values - mean) ** 2, weights=counts))
    return float(mean), float(deviation) or 1.0
