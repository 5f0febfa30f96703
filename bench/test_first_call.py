"""The first call in a new process, with a cold and with a warm cache of compiled kernels; imports not counted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

pytestmark = pytest.mark.operation("first_call")

PROGRAM = """
import sys, time
import numpy as np
import fastconv
x, w = np.ones((1, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)
start = time.perf_counter()
y = fastconv.conv2d(x, w, backend=sys.argv[1])
print(time.perf_counter() - start)
assert (y == 27).all()
"""


class _Clock:
    """Lets pytest-benchmark record the seconds that the other process measured in itself."""

    now = 0.0

    def run(self, backend: str, cache: Path) -> None:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
        command = [sys.executable, "-c", PROGRAM, backend]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        self.now += float(done.stdout)


CLOCK = _Clock()


@pytest.mark.benchmark(timer=lambda: CLOCK.now)
@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_first_call(backend: str, cache: str, benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    benchmark.group = f"first call, {cache} cache"
    if cache == "warm":
        CLOCK.run(backend, tmp_path)
        benchmark.pedantic(CLOCK.run, args=(backend, tmp_path), rounds=3)
    else:
        fresh = (tmp_path / str(number) for number in range(9))
        benchmark.pedantic(CLOCK.run, setup=lambda: ((backend, next(fresh)), {}), rounds=2)
