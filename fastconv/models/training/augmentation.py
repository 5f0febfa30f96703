"""Training images moved by chance each time they are seen: shifted by whole pixels, turned around their middle.

Pixels that come in from outside an image are those of the nearest border.

The moves of an epoch depend on the seed and the epoch alone, and are drawn for all images at once: no state is kept
from one epoch to the next, and any number of processes sees the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from fastconv.models.data.images import Images, OnDemand
from fastconv.models.errors import ModelsError

STREAM = 1
"""The stream of random numbers of the moves, apart from those of the images' order."""


class Moves(NamedTuple):
    """The moves of each image: pixels down, pixels to the right (int64, (N,)), and radians (float64, (N,))."""

    down: Tensor
    right: Tensor
    angle: Tensor


class Augmentation:
    """Moves of ``images`` (N, C, H, W) by up to ``shift`` pixels along each axis and ``rotation`` degrees either way.

    Raises ModelsError for a shift that may leave nothing of an image.
    """

    def __init__(self, images: Images, shift: int, rotation: float) -> None:
        if shift >= min(images.shape[2:]):
            height, width = images.shape[2:]
            raise ModelsError(f"the shift is {shift} pixels; images of {height} x {width} can be moved by fewer only")
        self._images, self._shift, self._degrees = images, shift, rotation
        self._windows = None if isinstance(images, OnDemand) else _windows(images, shift)

    def moves(self, seed: int, epoch: int) -> Moves:
        """Returns the moves of all images in ``epoch``."""
        random = np.random.default_rng((seed, epoch, STREAM))
        count = len(self._images)
        down, right = random.integers(-self._shift, self._shift, (2, count), endpoint=True)
        angle = np.radians(random.uniform(-self._degrees, self._degrees, count))
        device = self._images.device
        return Moves(*(torch.from_numpy(part).to(device) for part in (down, right, angle)))

    def batch(self, numbers: Tensor, moves: Moves) -> Tensor:
        """Returns the images of these ``numbers``, turned and then shifted: (len(numbers), C, H, W)."""
        if not self._degrees:
            down, right = moves.down[numbers], moves.right[numbers]
            windows, places = self._taken(numbers)
            return windows[places, :, self._shift - down, self._shift - right]
        return self._turned(numbers, moves)

    def _taken(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Returns windows, and the indices of those that belong to these ``numbers``."""
        if self._windows is not None:
            return self._windows, numbers
        return _windows(self._images[numbers], self._shift), torch.arange(len(numbers), device=numbers.device)

    def _turned(self, numbers: Tensor, moves: Moves) -> Tensor:
        """Returns the images turned by bilinear interpolation: each pixel is read from where it was before the move."""
        windows, places = self._taken(numbers)
        still = windows[places, :, self._shift, self._shift]
        height, width = still.shape[2:]
        cos, sin = moves.angle[numbers].cos(), moves.angle[numbers].sin()
        x, y = -2 / width * moves.right[numbers], -2 / height * moves.down[numbers]  # an image goes from -1 to 1
        across = height / width
        rows = [cos, across * sin, cos * x + across * sin * y, -sin / across, cos, cos * y - sin / across * x]
        inverse = torch.stack(rows, 1).view(-1, 2, 3).to(still.dtype)
        grid = affine_grid(inverse, list(still.shape), align_corners=False)
        return grid_sample(still, grid, padding_mode="border", align_corners=False)


def _windows(images: Tensor, shift: int) -> Tensor:
    """Returns all shifted images, (N, C, 2 shift + 1, 2 shift + 1, H, W): views, so picking a batch copies it once."""
    padded = pad(images, (shift, shift, shift, shift), mode="replicate") if shift else images
    return padded.unfold(2, images.shape[2], 1).unfold(3, images.shape[3], 1)
