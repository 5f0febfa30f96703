"""Who takes part: fastconv's backends, torch, and the other libraries that are installed.

A contestant turns a problem and its operands into a call without arguments, which is what gets timed: everything that
can be done once, such as copying operands into the library's own arrays or compiling, is done before. It computes in
float32 on ``threads`` threads, in a process of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import fastconv
from bench.arrays import Operands
from bench.problems import Problem

Call = Callable[[], Any]


class NotOfferedError(Exception):
    """The contestant has no such operation; the message says what it lacks."""


class Contestant(Protocol):
    """What an adapter module's ``make(variant, threads)`` gives."""

    def prepare(self, problem: Problem, operation: str, arrays: Operands) -> Call:
        """The call to time; NotOfferedError where there is none."""

    def arrays(self, result: Any) -> tuple[Any, ...]:
        """What a call gave, as NumPy arrays in the order of `bench.arrays.expected`."""


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


_MOST_FLOPS = {"naive": 5e8}
"""Plain loops do about a GFLOP a second, and a problem takes some ten calls."""

_PEERS = {
    "torch": Entry("torch", "contiguous", ("torch",)),
    "torch.channels_last": Entry("torch", "channels_last", ("torch",)),
    "onnxruntime": Entry("onnxruntime", "", ("onnx", "onnxruntime")),
    "openvino": Entry("openvino", "", ("openvino",)),
    "jax": Entry("jax", "", ("jax",)),
    "tinygrad": Entry("tinygrad", "", ("tinygrad",)),
}


def entries() -> dict[str, Entry]:
    """Every contestant that can take part here: fastconv's backends first, then the installed peers.

    A backend that can be told how to do things is a contestant in each of these ways too, for who names it.
    """
    own = {}
    for backend in fastconv.backends():
        if backend.available and backend.name != "auto":
            name = f"fastconv.{backend.name}"
            own[name] = Entry("fastconv", backend.name, most_flops=_MOST_FLOPS.get(backend.name))
            for option in backend.options:
                own[f"{name}:{option}"] = Entry("fastconv", f"{backend.name}:{option}", named=True)
    installed = {
        name: entry for name, entry in _PEERS.items() if all(importlib.util.find_spec(p) for p in entry.packages)
    }
    return {**own, **installed}


def way(contestant: Contestant, problem: Problem, operation: str) -> str | None:
    """How a contestant goes about an operation; None where its adapter has no such method, or it has no choice."""
    told: Callable[[Problem, str], str | None] = getattr(contestant, "way", lambda *_: None)
    return told(problem, operation)


def make(name: str, threads: int) -> Contestant:
    """The contestant called ``name``, which `entries` lists; imports its library into this process."""
    entry = entries()[name]
    adapter = importlib.import_module(f"bench.contestants.{entry.module}_adapter")
    contestant: Contestant = adapter.make(entry.variant, threads)
    return contestant
