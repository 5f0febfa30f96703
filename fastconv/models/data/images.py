"""Images as a network takes them, in batches: prepared before training if there is memory, else when a batch is taken.

Both kinds are indexed alike, by a tensor of numbers or a slice, and give the same bits: a tensor of all prepared
images, whose batch is one copy, or :class:`OnDemand`, which keeps the bytes and prepares whole batches. MNIST at 224 x
224 would be 12 GB of prepared images, and is 47 MB of bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fastconv.models.recipes import ImageShape

PREPARED_BYTES = 1 << 30
"""Most bytes that the prepared images of a split may take."""


@dataclass(frozen=True)
class Preparation:
    """Makes normalised float32 images (N, *shape) of bytes (N, C, H, W).

    They are scaled to the height and width of ``shape``, bilinearly and, when they shrink, over all pixels that go into
    one; then shifted by ``mean`` and divided by ``deviation``, both on the scale 0..1; one channel is repeated for each
    that ``shape`` has.
    """

    shape: ImageShape
    mean: float
    deviation: float
    dtype: torch.dtype = torch.float32

    def __call__(self, pixels: Tensor) -> Tensor:
        """Returns the prepared images, which share no memory with ``pixels``."""
        channels, *size = self.shape
        images = pixels.to(torch.float32)
        if images.shape[2:] != torch.Size(size):
            shrinks = size[0] < images.shape[2] or size[1] < images.shape[3]
            images = interpolate(images, size, mode="bilinear", antialias=shrinks)
        images.sub_(255 * self.mean).div_(255 * self.deviation)
        images = images if images.shape[1] == channels else images.expand(-1, channels, -1, -1).contiguous()
        return images.to(self.dtype)


@dataclass(frozen=True)
class OnDemand:
    """Stands for a tensor of prepared images: ``pixels`` (N, C, H, W) of bytes, prepared when a batch is taken."""

    pixels: Tensor
    preparation: Preparation

    @property
    def shape(self) -> torch.Size:
        """Returns (N, channels, height, width) of the prepared images."""
        return torch.Size((len(self.pixels), *self.preparation.shape))

    @property
    def device(self) -> torch.device:
        """Returns the device of the batches."""
        return self.pixels.device

    def to(self, device: str, dtype: torch.dtype) -> OnDemand:
        """Returns the same images, whose batches will be on ``device`` and of the data type."""
        return OnDemand(self.pixels.to(device), replace(self.preparation, dtype=dtype))

    def part(self, numbers: Tensor) -> OnDemand:
        """Returns the images of these numbers, still as bytes."""
        return OnDemand(self.pixels[numbers], self.preparation)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, batch: Tensor | slice) -> Tensor:
        """Returns the prepared images of these numbers."""
        return self.preparation(self.pixels[batch])


Images = Tensor | OnDemand


def part(images: Images, numbers: Tensor) -> Images:
    """Returns the images of these numbers, prepared if all images are."""
    return images.part(numbers) if isinstance(images, OnDemand) else images[numbers]


def images_of(pixels: Tensor, preparation: Preparation) -> Images:
    """Returns the images of ``pixels``, prepared now if all of them take no more than PREPARED_BYTES."""
    size = len(pixels) * math.prod(preparation.shape) * torch.float32.itemsize
    return preparation(pixels) if size <= PREPARED_BYTES else OnDemand(pixels, preparation)


def renormalised(images: Images, had: tuple[float, float], wanted: tuple[float, float]) -> Images:
    """Returns images that were normalised by one mean and deviation as another pair would have normalised them."""
    if isinstance(images, OnDemand):
        mean, deviation = wanted
        return OnDemand(images.pixels, replace(images.preparation, mean=mean, deviation=deviation))
    return (images * had[1] + had[0] - wanted[0]) / wanted[1]
