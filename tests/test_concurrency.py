"""Many Python threads at once give what one gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

import fastconv


def test_threads_do_not_disturb_one_another(backend: str, draw) -> None:
    problems = [(draw(2, 3, 8 + i, 9), draw(4, 3, 3, 3)) for i in range(4)]
    problems[1][0][0, 0, 0, 0] = np.inf  # no thread's silenced warnings may leak into another's

    def work(index: int) -> bytes:
        x, w = problems[index % 4]
        y = fastconv.max_pool2d(fastconv.conv2d(x, w, padding=1, backend=backend), 2, backend=backend)
        return y.tobytes() + fastconv.conv2d_weight(x, w.shape, np.ones_like(x[:, :1]).repeat(4, 1), padding=1,
                                                    backend=backend).tobytes()  # fmt: skip

    alone = [work(index) for index in range(4)]
    with ThreadPoolExecutor(8) as pool:
        # a simulated GPU runs one kernel at a time anyhow
        together = list(pool.map(work, range(12 if backend == "cuda" else 80)))
    assert all(result == alone[index % 4] for index, result in enumerate(together))
