"""This program runs many threads at once in one process, beside Numba's own threading layers.

The tests run it for seconds; by hand it runs for minutes:

NUMBA_THREADING_LAYER=omp python -m tests.backends.numba_cpu.runtime.stress 60 --parallel 1
"""

from __future__ import annotations

import argparse
import threading
from time import monotonic
from typing import Any

import numba
import numpy as np

import fastconv
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.geometry import ConvGeometry

GEOMETRIES = [
    ConvGeometry(4, 6, 14, 14, 16, 5, 5),
    ConvGeometry(2, 16, 28, 28, 24, 3, 3, (1, 1), (1, 1, 1, 1)),
    ConvGeometry(1, 64, 28, 28, 32, 1, 1),
    ConvGeometry(2, 8, 31, 33, 12, 3, 3, (2, 2), (1, 1, 1, 1)),
]
"""Problems of which some are done by one thread and some by all; with whole numbers every sum is exact."""


def _operands(g: ConvGeometry) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(g.C)
    shapes = (g.input_shape, g.weight_shape, g.output_shape)
    return tuple(rng.integers(-4, 5, shape).astype(np.float32) for shape in shapes)


def results(backend: NumbaCpu, index: int) -> list[bytes]:
    """Return the bytes of all three results of problem ``index``."""
    g = GEOMETRIES[index % len(GEOMETRIES)]
    x, w, grad = _operands(g)
    found = backend.conv2d(x, w, None, g), backend.conv2d_input(grad, w, g), backend.conv2d_weight(x, grad, g)
    return [array.tobytes() for array in found]


@numba.njit(parallel=True)
def _sums(x: Any) -> Any:
    out = np.empty(len(x))
    for i in numba.prange(len(x)):
        out[i] = x[i].sum()
    return out


def stress(seconds: float, threads: int = 8, parallel: int = 0) -> tuple[int, list[str]]:
    """Return how many results ``threads`` threads made, and which were wrong.

    ``parallel`` further threads run Numba's own parallel loops meanwhile.
    """
    backend = NumbaCpu("stressed")
    expected = [results(backend, index) for index in range(len(GEOMETRIES))]
    rows = np.ones((64, 1000))
    if parallel:
        _sums(rows)
    end, counts, wrong = monotonic() + seconds, [0] * threads, list[str]()

    def convolve(me: int) -> None:
        index = me
        while monotonic() < end:
            if results(backend, index) != expected[index % len(GEOMETRIES)]:
                wrong.append(f"thread {me}: {GEOMETRIES[index % len(GEOMETRIES)]}")
            counts[me] += 1
            index += 1

    def add(me: int) -> None:
        while monotonic() < end:
            if not (_sums(rows) == 1000).all():
                wrong.append(f"thread {me}: Numba's own loop")

    workers = [threading.Thread(target=convolve, args=(me,)) for me in range(threads)]
    workers += [threading.Thread(target=add, args=(threads + me,)) for me in range(parallel)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts), wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--parallel", type=int, default=0, help="threads that run Numba's own parallel loops meanwhile")
    options = parser.parse_args()
    count, wrong = stress(options.seconds, options.threads, options.parallel)
    layer = numba.threading_layer() if options.parallel else "no layer"
    print(f"{count} results, {len(wrong)} wrong, on {fastconv.get_num_threads()} threads beside {layer}")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
