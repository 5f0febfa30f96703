"""More elements than 32 bits can count, without the memory for them: zero strides stand for 2**31 pixels."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv

SHAPE = (1, 1, 2**16, 2**15 + 64)


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling_of_more_than_2_to_the_31_pixels(kind: str) -> None:
    row = np.zeros(SHAPE[3], np.float32)
    row[-1] = 3
    x = np.broadcast_to(row, SHAPE)
    assert x.size > 2**31
    if kind == "average":
        y = fastconv.avg_pool2d(x, (1, 2), (2**14, 2**15 + 62), backend="im2col")
        np.testing.assert_array_equal(y[0, 0], [[0, 1.5]] * 4)
    else:
        y, indices = fastconv.max_pool2d(x, (1, 2), (2**16 - 1, 2**15 + 62), return_indices=True, backend="im2col")
        np.testing.assert_array_equal(y[0, 0], [[0, 3], [0, 3]])
        assert indices[0, 0, 1, 1] == 2**16 * (2**15 + 64) - 1
