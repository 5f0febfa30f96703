"""What a call costs besides the kernel, in microseconds: small problems, all contestants in turns in one process.

Each has one thread: with several, another library's threads would spin on the cores while a call is timed.
"""

from __future__ import annotations

import gc
import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.table import Table

import fastconv
import fastconv.torch
from fastconv import registry
from fastconv.backends.jit import jit
from fastconv.backends.numba_cpu.calls.record import Record, compute
from fastconv.bench.contestants.fastconv_adapter import Fastconv
from fastconv.bench.operands import Operands, on_cpu
from fastconv.bench.problems import Problem, ProblemError, select
from fastconv.geometry import ConvGeometry, PoolGeometry

Call = Callable[[], object]

OURS, PEER = "arrays", "onnxruntime"

KERNEL = "kernel alone"
"""The contestant whose time is that of the compiled program, without any call from Python."""


@dataclass(frozen=True)
class Cost:
    """The best time of a call."""

    operation: str
    contestant: str
    seconds: float
    kernel: float
    """Seconds of the kernel alone."""

    @property
    def beyond(self) -> float:
        """Returns the seconds that a call takes beside fastconv's kernel."""
        return self.seconds - self.kernel


@jit
def _repeat(record, arguments, result, times):
    for _ in range(times):
        compute(record, arguments, result, 0)


def _kernel(operation: str, geometry: ConvGeometry | PoolGeometry, arrays: list[np.ndarray]) -> Callable[[int], None]:
    """Returns a function that runs the program of an operation as often as it is told."""
    numba, dtype = registry.get("numba"), np.dtype(np.float32)
    short = numba.short(operation, geometry, dtype, len(arrays))
    if short is None:
        raise ProblemError(f"{operation} of an image {geometry.input_shape} takes too long to tell the cost of a call")
    record = Record([], short.program, short.operands, geometry.output_shape, dtype)
    result, places = np.empty(geometry.output_shape, dtype), np.array([id(each) for each in arrays], np.int64)
    record.keep(result, places, *arrays)
    return lambda times: _repeat(record.address, places.ctypes.data, id(result), times)


def _repeated(call: Call) -> Callable[[int], None]:
    def repeat(times: int) -> None:
        for _ in range(times):
            call()

    return repeat


def _peer(problem: Problem, arrays: Operands) -> dict[str, Call]:
    if importlib.util.find_spec("onnxruntime") is None or importlib.util.find_spec("onnx") is None:
        return {}
    from fastconv.bench.contestants.onnxruntime_adapter import make

    return {PEER: make("", 1).prepare(problem, "forward", arrays)}


def contestants(size: int, channels: int) -> dict[str, dict[str, Callable[[int], None]]]:
    """Returns for each operation its contestants, as functions that make a number of calls.

    Images have ``size`` x ``size`` pixels and ``channels`` channels; kernels have 3 x 3, windows 2 x 2.

    Raises:
        ProblemError: the problem takes too long to tell the cost of a call.
    """
    rng = np.random.default_rng(0)
    shape = (1, channels, size, size)
    x, w = (rng.standard_normal(each).astype(np.float32) for each in (shape, (channels, channels, 3, 3)))
    b = rng.standard_normal(channels).astype(np.float32)
    tx, tw, tb = map(torch.from_numpy, (x, w, b))
    conv, pool = ConvGeometry(*shape, channels, 3, 3), PoolGeometry(*shape, 2, 2, (2, 2))
    plan, tensors = fastconv.plan_conv2d(shape, w, b), fastconv.torch.functional.plan_conv2d(shape, tw, tb)
    out, theirs = np.empty(plan.output_shape, np.float32), torch.nn.functional
    found: dict[str, dict[str, Call]] = {
        "conv2d": {
            "arrays": lambda: fastconv.conv2d(x, w, b),
            "plan": lambda: plan(x),
            "plan, out=": lambda: plan(x, out=out),
            "tensors": lambda: fastconv.conv2d(tx, tw, tb),
            "plan, tensors": lambda: tensors(tx),
            "torch": lambda: theirs.conv2d(tx, tw, tb),
        },
        "max_pool2d": {
            "arrays": lambda: fastconv.max_pool2d(x, 2),
            "tensors": lambda: fastconv.max_pool2d(tx, 2),
            "torch": lambda: theirs.max_pool2d(tx, 2),
        },
        "avg_pool2d": {
            "arrays": lambda: fastconv.avg_pool2d(x, 2),
            "tensors": lambda: fastconv.avg_pool2d(tx, 2),
            "torch": lambda: theirs.avg_pool2d(tx, 2),
        },
    }
    problems = {
        "conv2d": (Problem("calls", "conv", conv, frozenset()), "conv2d", [x, w, b]),
        "max_pool2d": (Problem("calls", "max", pool, frozenset()), "max_pool2d_values", [x]),
        "avg_pool2d": (Problem("calls", "avg", pool, frozenset()), "avg_pool2d", [x]),
    }
    every: dict[str, dict[str, Callable[[int], None]]] = {}
    for operation, (problem, primitive, arrays) in problems.items():
        calls = found[operation] | _peer(problem, Operands(x, w, b, out))
        timed = {name: _repeated(call) for name, call in calls.items()}
        every[operation] = {KERNEL: _kernel(primitive, problem.geometry, arrays), **timed}
    return every


def measure(size: int, channels: int, calls: int, turns: int) -> list[Cost]:
    """Returns the best time of each contestant's call, of ``turns`` turns of ``calls`` calls each."""
    best = _best(lambda: contestants(size, channels), calls, turns)
    return [Cost(operation, name, spent, best[operation, KERNEL]) for (operation, name), spent in best.items()]


def call_table(size: int, channels: int, calls: int, turns: int) -> Table:
    """Returns what `measure` finds as a table."""
    title = f"Calls on one image of {channels} x {size} x {size}, microseconds"
    table = Table("operation", "contestant", "a call", "beyond the kernel", title=title, title_justify="left")
    for cost in measure(size, channels, calls, turns):
        table.add_row(cost.operation, cost.contestant, f"{cost.seconds * 1e6:.2f}", f"{cost.beyond * 1e6:.2f}")
    return table


def _layers() -> dict[str, dict[str, Callable[[int], None]]]:
    """Returns for each convolution of the networks for digits its contestants, at batch 1."""
    found: dict[str, dict[str, Callable[[int], None]]] = {}
    for problem in select(["mnist"]):
        g = problem.geometry
        if isinstance(g, ConvGeometry) and g.N == 1:
            operands = on_cpu(problem)
            peers = {OURS: Fastconv("numba").call(problem, "forward", operands), **_peer(problem, operands)}
            plan = fastconv.plan_conv2d(g.input_shape, operands.w, operands.b, g.stride, g.padding, g.dilation)
            peers["plan"] = partial(plan, operands.x)
            found[problem.name] = {name: _repeated(call) for name, call in peers.items()}
    return found


def layer_table(calls: int, turns: int) -> Table:
    """Returns the times of layers of networks for digits as a table; a ratio is onnxruntime's time by that of arrays.

    Those of onnxruntime's sessions and of a plan are for one weight, and those of arrays for any.
    """
    best = _best(_layers, calls, turns)
    names = list(dict.fromkeys(name for name, _ in best))
    table = Table("layer", OURS, "plan", PEER, "ratio", title="Layers at batch 1, microseconds", title_justify="left")
    ratios = []
    for name in names:
        times = [best.get((name, each)) for each in (OURS, "plan", PEER)]
        ratio = times[2] / times[0] if times[0] and times[2] else None
        ratios += [ratio] if ratio else []
        table.add_row(name, *("-" if each is None else f"{each * 1e6:.2f}" for each in times), _number(ratio))
    table.add_row("geometric mean", "", "", "", _number(statistics.geometric_mean(ratios) if ratios else None))
    return table


def _passes(size: int, channels: int) -> dict[str, dict[str, Callable[[int], None]]]:
    """Returns for each layer its contestants, as functions that make a number of forward and backward passes.

    Images and kernels are those of `contestants`, and both have gradients.
    """
    rng = np.random.default_rng(0)
    x, w = (
        torch.from_numpy(rng.standard_normal(shape).astype(np.float32)).requires_grad_()
        for shape in ((1, channels, size, size), (channels, channels, 3, 3))
    )
    layers = {"conv2d": (x, w), "conv_transpose2d": (x, w), "max_pool2d": (x, 2), "avg_pool2d": (x, 2)}
    libraries = {"tensors": fastconv.torch.functional, "torch": torch.nn.functional}

    def passes(function: Callable[..., Any], operands: tuple[Any, ...]) -> Call:
        leaves, grad = [each for each in operands if each is x or each is w], torch.ones_like(function(*operands))
        return lambda: torch.autograd.grad(function(*operands), leaves, grad)

    return {
        layer: {name: _repeated(passes(getattr(every, layer), operands)) for name, every in libraries.items()}
        for layer, operands in layers.items()
    }


def training_table(size: int, channels: int, calls: int, turns: int) -> Table:
    """Returns the times of both passes of layers as a table; a ratio is torch's time by that of our tensors."""
    best = _best(lambda: _passes(size, channels), calls, turns)
    title = "Forward and backward of a layer, microseconds"
    table = Table("layer", "tensors", "torch", "ratio", title=title, title_justify="left")
    for layer in dict.fromkeys(name for name, _ in best):
        ours, theirs = best[layer, "tensors"], best[layer, "torch"]
        table.add_row(layer, f"{ours * 1e6:.2f}", f"{theirs * 1e6:.2f}", _number(theirs / ours))
    return table


def _number(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _best(
    prepare: Callable[[], dict[str, dict[str, Callable[[int], None]]]], calls: int, turns: int
) -> dict[tuple[str, str], float]:
    """Returns the best time of each call of each group, on one thread, of ``turns`` turns of ``calls`` calls each."""
    threads = torch.get_num_threads(), fastconv.get_num_threads()
    torch.set_num_threads(1)
    fastconv.set_num_threads(1)
    collects = gc.isenabled()
    gc.disable()
    try:
        every = prepare()
        timed = {(operation, name): repeat for operation, group in every.items() for name, repeat in group.items()}
        best = dict.fromkeys(timed, float("inf"))
        for repeat in timed.values():
            repeat(200)  # compiles, and lets compiled code know the call
        for _ in range(turns):
            for key, repeat in timed.items():
                start = time.perf_counter()
                repeat(calls)
                best[key] = min(best[key], (time.perf_counter() - start) / calls)
    finally:
        torch.set_num_threads(threads[0])
        fastconv.set_num_threads(threads[1])
        if collects:
            gc.enable()
    return best
