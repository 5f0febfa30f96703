"""What a new process waits for before its first result: imports, plans, and kernels that are compiled or found.

Each start is a process of its own, which measures itself; the medians are of processes that take turns.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastconv.backends.compiler import kernels, store
from fastconv.backends.compiler.processor import levels

CONVOLUTION = """
import time
import numpy as np
start = time.perf_counter()
import fastconv
y = fastconv.conv2d(np.ones((1, 1, 8, 8), np.float32), np.ones((1, 1, 3, 3), np.float32))
print(time.perf_counter() - start)
assert (y == 9).all()
"""

TRAINING_STEP = """
import time
import torch
from torch import nn
def network():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10))
def step(model):
    loss = nn.functional.cross_entropy(model(torch.ones(100, 1, 28, 28)), torch.zeros(100, dtype=torch.long))
    loss.backward()
step(network())
start = time.perf_counter()
from fastconv.torch import convert
step(convert(network(), fuse=True))
print(time.perf_counter() - start)
"""

PROGRAMS = {
    "conv2d of an array, after NumPy's import": CONVOLUTION,
    "training step of LeNet-5, after torch's own": TRAINING_STEP,
}
"""What is started, and the program that measures it."""

_PACKAGE = "fastconv.backends.numba_cpu"


@dataclass
class Start:
    """The seconds of starts of one kind."""

    what: str
    found: str
    """Where kernels are found: on disk, in the package's bundle, or nowhere."""
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Returns the median."""
        return statistics.median(self.seconds)


@contextmanager
def _environments() -> Iterator[dict[str, dict[str, str]]]:
    """Gives for each place of kernels the environment of a process that finds them there.

    Python's bytecode is kept, as pip does when it installs, in a folder of its own: to compile the sources of fastconv
    takes 0.12 s, and an environment may say that no bytecode is written.
    """
    with tempfile.TemporaryDirectory() as kept, tempfile.TemporaryDirectory() as bytecode:
        bundled = store.holds_any(kernels.folder_of(_PACKAGE), levels(), kernels.sources(_PACKAGE))
        places = {"on disk": kept} | ({"bundled": os.devnull} if bundled else {})
        yield {
            found: {"NUMBA_CACHE_DIR": folder, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
            for found, folder in places.items()
        }


def _seconds(program: str, environment: dict[str, str]) -> float:
    command = [sys.executable, "-c", program]
    env = {**os.environ, **environment}
    return float(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)


def measure(runs: int, cold_runs: int) -> list[Start]:
    """Returns the starts of each program: with its kernels on disk, bundled where there is a bundle, and compiled.

    Args:
        runs: starts with kernels at hand.
        cold_runs: starts that find none, in a new folder each and without the bundle.
    """
    found: list[Start] = []
    with _environments() as environments:
        for what, program in PROGRAMS.items():
            starts = {place: Start(what, place) for place in environments}
            for environment in environments.values():
                _seconds(program, environment)  # fills the folder, and the system's memory of files
            for _ in range(runs):
                for place, environment in environments.items():
                    starts[place].seconds.append(_seconds(program, environment))
            found += starts.values()
            cold = Start(what, "nowhere")
            for _ in range(cold_runs):
                with tempfile.TemporaryDirectory() as folder:
                    environment = environments["on disk"] | {"NUMBA_CACHE_DIR": folder}
                    cold.seconds.append(_seconds(program.replace(_BEGIN, _BEGIN + _NO_BUNDLE), environment))
            found.append(cold)
    return found


_BEGIN = "start = time.perf_counter()\n"
_NO_BUNDLE = """
import fastconv.backends.compiler.store as store
store.read_bundled = lambda *_: None
"""
