"""Who takes part: fastconv's backends, torch, and the other libraries that are installed.

A contestant turns a problem and its operands into a call without arguments, which is what gets timed: everything that
can be done once, such as copying operands into the library's own arrays or compiling, is done before. It computes on
``threads`` threads.

A further peer takes an adapter module here and a row of the table `_PEERS`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import fastconv
from fastconv.bench.operands import Operands
from fastconv.bench.problems import Problem
from fastconv.bench.results import GRAPH, REFERENCE, TF32

Call = Callable[[], Any]

CPU, CUDA = "cpu", "cuda"
"""The devices that contestants compute on; `fastconv.bench.devices` has what a contest needs of each."""

OURS_ON_CUDA = "fastconv.cuda"


class NotOfferedError(Exception):
    """The contestant has no such operation; the message says what it lacks."""


class Contestant(Protocol):
    """What an adapter module's ``make(variant, threads)`` gives."""

    def prepare(self, problem: Problem, operation: str, arrays: Operands) -> Call:
        """The call to time; NotOfferedError where there is none."""

    def arrays(self, result: Any) -> tuple[Any, ...]:
        """What a call gave, as NumPy arrays, or tensors on a GPU, in the order of `fastconv.bench.truth.expected`."""


class NetworkContestant(Contestant, Protocol):
    """A contestant that runs whole networks too."""

    def network(self, path: Path, x: Any) -> Call:
        """A forward pass of the ONNX file ``path`` for the images ``x``, a NumPy array; see `Contestant.arrays`."""


@dataclass(frozen=True)
class Entry:
    """A contestant: the module that adapts it, a word for that, the packages it can't do without."""

    module: str
    variant: str = ""
    packages: tuple[str, ...] = ()
    most_flops: float | None = None
    """The largest problem it is asked to do."""
    named: bool = False
    """Whether it takes part only where it is asked for by name."""
    tf32: bool = False
    """Whether it may multiply float32 as TF32, with ten bits of each factor."""
    graph: bool = False
    """Whether its calls are captured in a CUDA graph, which is replayed."""
    networks: bool = False
    """Whether its adapter's contestant has a method `network`, which runs whole networks, forwards."""
    common: bool = False
    """Whether it does `Problem.common` problems alone."""
    poolings: bool = True
    """Whether poolings make a difference to it: they multiply nothing, and `cuda` does them in one way."""

    def joins(self, problem: Problem) -> bool:
        """Whether it takes part in a problem."""
        return self.poolings or problem.kind == "conv"


_MOST_FLOPS = {"naive": 5e8}
"""Plain loops do about a GFLOP a second, and a problem takes some ten calls."""

_PEERS: dict[str, Entry] = {
    "torch": Entry("torch", "", ("torch",)),
    "torch.channels_last": Entry("torch", "channels_last", ("torch",)),
    "onnxruntime": Entry("onnxruntime", "", ("onnx", "onnxruntime"), networks=True, common=True),
    "openvino": Entry("openvino", "", ("openvino",), networks=True, common=True),
    "jax": Entry("jax", "", ("jax",), common=True),
    "tinygrad": Entry("tinygrad", "", ("tinygrad",), common=True),
}
"""The processor's contestants beside fastconv: a row for each, and a module NAME_adapter.py here."""

_ON_CUDA = {
    REFERENCE: Entry("torch", "", ("torch",)),
    REFERENCE + GRAPH: Entry("torch", "", ("torch",), graph=True),
    REFERENCE + TF32: Entry("torch", "", ("torch",), tf32=True, poolings=False),
    OURS_ON_CUDA: Entry("fastconv", "cuda"),
    OURS_ON_CUDA + GRAPH: Entry("fastconv", "cuda", graph=True),
    OURS_ON_CUDA + TF32: Entry("fastconv", "cuda:tf32", tf32=True, poolings=False),
}
"""A GPU's contestants, torch being cuDNN there, but for the single rungs of the backend's ladder."""


def entries(device: str = CPU) -> dict[str, Entry]:
    """Every contestant that can take part on a device.

    On the processor these are fastconv's backends first, then the installed peers. A backend with several
    algorithms is a contestant by each of them too, where it is asked for by name.
    """
    if device == CUDA:
        return {**_ON_CUDA, **_rungs()}
    own = {}
    for backend in fastconv.backends():
        if backend.available and backend.name != "auto":
            name = f"fastconv.{backend.name}"
            own[name] = Entry("fastconv", backend.name, most_flops=_MOST_FLOPS.get(backend.name))
            for option in backend.options:
                own[f"{name}:{option}"] = Entry("fastconv", f"{backend.name}:{option}", named=True)
    return {**own, **{name: entry for name, entry in _PEERS.items() if installed(*entry.packages)}}


def installed(*packages: str) -> bool:
    """Whether all these packages can be imported here."""
    return all(importlib.util.find_spec(package) for package in packages)


def _rungs() -> dict[str, Entry]:
    """The rungs of the ladder that multiply float32 as such."""
    from fastconv.backends.numba_cuda.ladder import ALGORITHMS

    return {
        f"{OURS_ON_CUDA}:{rung}": Entry("fastconv", f"cuda:{rung}", named=True, poolings=False)
        for rung in ALGORITHMS
        if rung != "tf32"
    }


def as_numpy(result: Any) -> tuple[Any, ...]:
    """A call's results as NumPy arrays, bfloat16 as float32, which holds all its numbers; tensors of a GPU stay."""
    parts = result if isinstance(result, tuple) else (result,)
    return tuple(_as_numpy(part) for part in parts if part is not None)


def _as_numpy(part: Any) -> Any:
    if isinstance(part, np.ndarray) or part.is_cuda:
        return part
    return (part.float() if str(part.dtype) == "torch.bfloat16" else part).numpy()


def way(contestant: Contestant, problem: Problem, operation: str) -> str | None:
    """How a contestant goes about an operation; None where its adapter has no such method, or it has no choice."""
    told: Callable[[Problem, str], str | None] = getattr(contestant, "way", lambda *_: None)
    return told(problem, operation)


def make(name: str, threads: int, device: str = CPU) -> Contestant:
    """The contestant called ``name``, which `entries` lists; imports its library into this process."""
    entry = entries(device)[name]
    adapter = importlib.import_module(f"fastconv.bench.contestants.{entry.module}_adapter")
    contestant: Contestant = adapter.make(entry.variant, threads)
    return contestant
