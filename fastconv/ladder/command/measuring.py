"""The machine's limits are measured, and each rung is verified against float64 and then timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import get_clock_info, perf_counter, thread_time
from typing import Any

import numpy as np

from fastconv import cpu_limits, registry, threads
from fastconv.errors import UnsupportedError
from fastconv.geometry import ConvGeometry
from fastconv.ladder import rung06_registers, rung14_fusing
from fastconv.ladder.backend import FUSING, GRADIENTS, RUNGS, rung
from fastconv.ladder.command import layer, truth

SECONDS = 0.6
"""How long a rung's calls are repeated; the fastest counts."""

FINE = 1e-5
"""Seconds between two ticks of a clock that can time a call."""

COPIED = 2**28
"""Bytes of the copy that tells main memory's bandwidth: more than caches hold."""

BASES = dict(zip(list(RUNGS)[1:10], RUNGS, strict=False)) | {"12": "06", "14": "06"}
"""The rung that each is compared with."""

PIECE, LIBRARY, THREADED, DEPTHWISE = "01", "07", "10", "11"
"""Rungs that are measured in ways of their own."""

NO_OTHER_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""Environment variables that keep a library's product to one thread; it reads them when it is loaded."""


@dataclass(frozen=True)
class Limits:
    """What the machine can do: float32 flops a second for numbers of threads, and bytes a second of main memory."""

    peaks: dict[int, float]
    bandwidth: float


@dataclass(frozen=True)
class Row:
    """One rung as measured: seconds of the whole layer, or why it can't do it."""

    number: str
    idea: str
    layer: str
    flops: int
    bytes: int
    threads: int = 1
    seconds: float | None = None
    error: float | None = None
    refusal: str | None = None
    note: str | None = None

    @property
    def rate(self) -> float:
        """Flops a second."""
        return self.flops / self.seconds if self.seconds else 0.0


def limits(count: int) -> Limits:
    """Returns the limits of one thread and of ``count``, and the bandwidth of one."""
    return Limits({n: cpu_limits.peak_flops(n, own_clock()) for n in (1, count)}, cpu_limits.copy_bandwidth(1, COPIED))


def own_clock() -> Callable[[], float]:
    """Returns the clock of the time that a thread itself has run, so that other programs count less.

    Where it ticks too rarely, as on Windows, it is the clock on the wall.
    """
    return thread_time if get_clock_info("thread_time").resolution < FINE else perf_counter


def best(call: Callable[[], object], seconds: float = SECONDS, count: int = 1) -> float:
    """Returns the seconds of the fastest of as many calls as fit into ``seconds``, of two at least."""
    times: list[float] = []
    clock, start = own_clock() if count == 1 else perf_counter, perf_counter()
    while len(times) < 2 or perf_counter() - start < seconds:
        before = clock()
        call()
        times.append(clock() - before)
    return min(times)


def measure(text: str, numbers: list[str], count: int, seconds: float = SECONDS) -> Iterator[Row]:
    """Yields a row for each rung: all of a layer on one thread, but rung 10 on ``count``."""
    g = layer.parse(text)
    for number in numbers:
        if number == LIBRARY:
            yield _in_a_process(text, number, seconds)
        else:
            yield measured(g, number, count if number == THREADED else 1, seconds)


def measured(g: ConvGeometry, number: str, count: int, seconds: float) -> Row:
    """Returns a rung's row; raises ArithmeticError where its results are wrong."""
    g = layer.depthwise(g) if number == DEPTHWISE else g
    flops, bytes_moved = (2 * g.flops, 2 * g.bytes(4)) if number == GRADIENTS else (g.flops, g.bytes(4))
    about: dict[str, Any] = {"number": number, "idea": rung(number).IDEA, "layer": layer.describe(g)}
    about |= {"flops": flops, "bytes": bytes_moved, "threads": count}
    part = layer.piece(g) if number == PIECE else g
    if number == PIECE and part != g:
        about["note"] = f"timed on {layer.describe(part)}, for the time of all its products"
    before = threads.get_num_threads()
    threads.set_num_threads(count)
    try:
        found = _verified(part, number)
        time = best(found, seconds, count)
    except UnsupportedError as error:
        return Row(**about, refusal=str(error).partition(": ")[2].partition(". Choose")[0])
    finally:
        threads.set_num_threads(before)
    if number == FUSING:
        about["note"] = _beside_three_steps(g, time, seconds)
    return Row(**about, seconds=time * (g.flops / part.flops), error=found.error)


@dataclass(frozen=True)
class _Verified:
    """A call of a rung, whose results were right up to ``error``."""

    call: Callable[[], Any]
    error: float

    def __call__(self) -> Any:
        return self.call()


def operands(g: ConvGeometry) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns x, w, b and grad: standard normal numbers, the same in every run."""
    rng = np.random.default_rng(0)
    shapes = (g.input_shape, g.weight_shape, (g.K,), g.output_shape)
    return tuple(rng.standard_normal(shape, dtype=np.float32) for shape in shapes)  # type: ignore[return-value]


def _verified(g: ConvGeometry, number: str) -> _Verified:
    """Returns the call that is timed, after its first run."""
    x, w, b, grad = operands(g)
    backend: Any = registry.resolve(f"ladder:{number}")
    backend.select("conv2d_input" if number == GRADIENTS else "conv2d", g, x.dtype)
    call: Callable[[], tuple[np.ndarray, ...]]
    right: tuple[np.ndarray, ...]
    if number == GRADIENTS:
        call = lambda: (backend.conv2d_input(grad, w, g), backend.conv2d_weight(x, grad, g))  # noqa: E731
        right = truth.backward(x, w, grad, g)
    elif number == FUSING and min(g.P, g.Q) > 1:
        call = lambda: (rung14_fusing.block(x, w, b, g, relu=True, pool=True),)  # noqa: E731
        right = (truth.relu_and_pool(truth.forward(x, w, b, g)),)
    else:
        call = lambda: (backend.conv2d(x, w, b, g),)  # noqa: E731
        right = (truth.forward(x, w, b, g),)
    error = max(truth.error(*pair) for pair in zip(call(), right, strict=True))
    if not error <= truth.TOLERANCE:
        raise ArithmeticError(f"rung {number} is wrong by {error:.1e} of the largest result")
    return _Verified(call, error)


def _beside_three_steps(g: ConvGeometry, time: float, seconds: float) -> str:
    """Returns how the fused pass compares with rung 06, ReLU and pooling one after another, also on a first layer."""

    def steps(g: ConvGeometry) -> float:
        x, w, b, _ = operands(g)
        return best(lambda: truth.relu_and_pool(rung06_registers.conv2d(x, w, b, g)), seconds)

    first = replace(g, C=min(3, g.C // g.groups), groups=1)
    there = best(_verified(first, FUSING), seconds), steps(first)
    return (
        f"{time * 1e3:.3g} ms, in three steps {steps(g) * 1e3:.3g}; "
        f"with {first.C} input channels {there[0] * 1e3:.3g} ms, in three steps {there[1] * 1e3:.3g}"
    )


def tiles(text: str, shapes: list[tuple[int, int]], seconds: float) -> Iterator[tuple[tuple[int, int], float]]:
    """Yields the flops a second that rung 06 reaches with tiles of each shape."""
    g = layer.parse(text)
    x, w, b, _ = operands(g)
    for shape in shapes:
        rung06_registers.conv2d(x, w, b, g, shape)
        yield shape, g.flops / best(lambda shape=shape: rung06_registers.conv2d(x, w, b, g, shape), seconds)  # type: ignore[misc]


def _in_a_process(text: str, number: str, seconds: float) -> Row:
    """Returns the row of a rung that is measured in a process of its own, whose libraries have one thread."""
    command = [sys.executable, "-m", __spec__.name, text, number, str(seconds)]
    environment = {**os.environ, **dict.fromkeys(NO_OTHER_THREADS, "1")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ArithmeticError(f"rung {number} failed in its process: {done.stderr.strip()[-300:]}")
    return Row(**json.loads(done.stdout))


if __name__ == "__main__":
    row = measured(layer.parse(sys.argv[1]), sys.argv[2], 1, float(sys.argv[3]))
    print(json.dumps(row.__dict__))
