"""Rung 10: the same work on all cores.

Results don't depend on one another, so they are shared out: whole images where there are enough of them, else parts of
an image's pixels. Each task pads its own image, packs its own panels and writes results that no other task writes, so
nothing has to be waited for until all are done:

    tasks (image, from pixel, to pixel):  core 0: [image 0][image 2][image 4]...
                                          core 1: [image 1][image 3][image 5]...      private: L1, L2
                                          both read the packed weights (147 KB)       shared: L3, memory

Python's threads serve, since compiled code runs without the interpreter lock (``nogil``), as NumPy's copies do. To
begin a task costs some 20 microseconds, the work of one image here a thousand.

    speed-up = 1 / (serial part + parallel part / cores)      (Amdahl, 1967)

Serial are the packing of the weights and the start of the threads. Each sum is still made by one core in the order of
rung 09, so results are the same to the last bit for any number of threads.

Exercise: time it with 1, 2 and 3 threads on two cores. Then on 1 image instead of 8: what has become serial?
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product
from typing import Any

import numpy as np

from fastconv.geometry import ConvGeometry
from fastconv.ladder.rung09_implicit import make, some_pixels
from fastconv.ladder.tile import packed, tile_shape
from fastconv.threads import get_num_threads

IDEA = "the same work on all cores"


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns y (N, K, P, Q) from x (N, C, H, W), w (K, C / groups, R, S) and b (K,)."""
    threads = get_num_threads()
    weights = packed(w, g.groups, tile_shape(x.dtype)[0])
    y = np.empty((g.N, g.K, g.P * g.Q), x.dtype)
    pieces = min(-(-threads // g.N), g.P * g.Q)
    ends = [g.P * g.Q * i // pieces for i in range(pieces + 1)]

    kernel(x.dtype)  # made once, before several threads ask for it

    def task(job: tuple[int, tuple[int, int]]) -> None:
        n, (first, last) = job
        y[n, :, first:last] = some_pixels(x[n], weights, b, g, first, last)

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(task, product(range(g.N), pairwise(ends))):
            pass  # a task's exception is raised here
    return y.reshape(g.output_shape)


def kernel(dtype: np.dtype[Any]) -> Any:
    """Returns the compiled function that the time goes into."""
    return make(*tile_shape(dtype))
