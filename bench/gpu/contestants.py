"""Who takes part: torch, which is cuDNN, and the backend `cuda`, with TF32 and without, as called and in a graph.

torch's switches decide about both: cuDNN tries its algorithms out and keeps the fastest (``benchmark``), and float32
is multiplied as TF32 only where a contestant's name says so.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from bench.contestants.fastconv_adapter import Fastconv
from bench.gpu.calls import Call, Operands, fastconv_call, torch_call
from bench.problems import Problem
from bench.results import REFERENCE
from fastconv.backends.numba_cuda.ladder import ALGORITHMS

OURS = "fastconv.cuda"
GRAPH, TF32 = ".graph", ".tf32"


@dataclass(frozen=True)
class Contestant:
    """``backend`` is fastconv's, None for torch; ``graph``: calls are captured in a CUDA graph, which is replayed."""

    name: str
    backend: str | None
    tf32: bool = False
    graph: bool = False

    def switches(self) -> AbstractContextManager[None]:
        """Within it torch's switches are as this contestant wants them."""
        return torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=self.tf32)

    def call(self, problem: Problem, operation: str, given: Operands) -> Call:
        """What is timed."""
        if self.backend is None:
            return torch_call(problem, operation, given)
        return fastconv_call(problem, operation, given, self.backend)

    def way(self, problem: Problem, operation: str) -> str | None:
        """The algorithms that fastconv takes for a convolution."""
        return Fastconv(self.backend).way(problem, operation) if self.backend else None

    def joins(self, problem: Problem) -> bool:
        """Whether a problem makes a difference to it: poolings multiply nothing and are done in one way."""
        return problem.kind == "conv" or not (self.tf32 or ":" in self.name)


_ALL = (
    Contestant(REFERENCE, None),
    Contestant(REFERENCE + GRAPH, None, graph=True),
    Contestant(REFERENCE + TF32, None, tf32=True),
    Contestant(OURS, "cuda"),
    Contestant(OURS + GRAPH, "cuda", graph=True),
    Contestant(OURS + TF32, "cuda:tf32", tf32=True),
    *(Contestant(f"{OURS}:{rung}", f"cuda:{rung}") for rung in ALGORITHMS if rung != "tf32"),
)
CONTESTANTS = {contestant.name: contestant for contestant in _ALL}


def names(quick: bool) -> list[str]:
    """All contestants; where it must go quickly, without the single rungs of the ladder."""
    return [name for name in CONTESTANTS if not (quick and ":" in name)]
