"""Many Python threads at once give what one gives."""

from __future__ import annotations

import subprocess
import sys
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


INTERRUPTED = """
import os, signal, threading
import numpy as np, fastconv
from fastconv.backends.numba_cpu.runtime import buffers, thread_pool as pool

fastconv.set_num_threads(3)
x, w = np.ones((4, 16, 64, 64), np.float32), np.ones((16, 16, 3, 3), np.float32)
armed = False

def interrupt(*_):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

def work(count):
    for _ in range(count):
        fastconv.max_pool2d(fastconv.conv2d(x, w, padding=1, backend="numba"), 2, backend="numba")

signal.signal(signal.SIGALRM, interrupt)
interrupts = 0
for turn in range(900):
    if turn == 450:
        work(1)  # from now on the calls are quick
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, 0.0003 + turn % 30 * 0.0001)
        work(1000)
    except KeyboardInterrupt:
        interrupts += 1
# Python itself ignores those that come in a destructor.
answers = []
other = threading.Thread(target=lambda: answers.append(work(1)), daemon=True)
other.start()
other.join(60)
work(1)
helpers = sum(thread.name.startswith("fastconv-") for thread in threading.enumerate())
print(interrupts > 800, answers, helpers, pool.pool.serving, len(buffers._store._pieces) < 10)
os._exit(0)
"""


def test_interrupts_leave_nothing_behind() -> None:
    """Neither a lock, for which the next call or another thread would wait for ever, nor memory, nor a helper."""
    command = [sys.executable, "-W", "error", "-c", INTERRUPTED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.stdout == "True [None] 2 2 True\n", done.stderr


def test_a_caller_who_wants_errors_gets_values(backend: str) -> None:
    """NumPy's error state is the caller's; overflow, NaN and infinities are results all the same."""
    x = np.full((1, 2, 6, 6), 3e38, np.float32)
    x[0, 0, :2, :2] = np.nan, np.inf
    with np.errstate(all="raise"):
        y = fastconv.conv2d(x, x[:, :, :2, :2], backend=backend)
        fastconv.conv2d_input(x.shape, x[:, :, :2, :2], y, backend=backend)
        fastconv.conv2d_weight(x, (1, 2, 2, 2), y, backend=backend)
        fastconv.max_pool2d(x, 2, backend=backend)
        fastconv.avg_pool2d(x, 2, backend=backend)
    assert not np.isfinite(y).any()
