"""The 1,797 real handwritten digits that come inside scikit-learn, enlarged to MNIST's size.

E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI, 1998: 8 x 8 images of values 0..16.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import interpolate

from fastconv.models.data.split import Split

SIZE = 28
BRIGHTEST = 16
TEST_IMAGES = 360
SPLIT_SEED = 0


def digits() -> tuple[Split, Split]:
    """Returns 1,437 digits to train on and 360 to test on, 28 x 28 pixels, the same at every call."""
    bunch = load_digits()
    small = torch.from_numpy(bunch.images).unsqueeze(1)  # (N, 1, 8, 8)
    large = interpolate(small, (SIZE, SIZE), mode="bilinear").squeeze(1)
    images = (large * (255 / BRIGHTEST)).round().to(torch.uint8).numpy()
    labels = bunch.target.astype(np.uint8)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    test, train = order[:TEST_IMAGES], order[TEST_IMAGES:]
    return Split(images[train], labels[train]), Split(images[test], labels[test])
