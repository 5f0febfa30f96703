"""Every rung of the ladder on problems small enough for compute-sanitizer.

    python -m fastconv.bench.gpu.small_cases

Each case has remainders at the edges of tiles. Results are checked against torch on the processor, so that the only
kernels that the tool watches, besides copies, are fastconv's.
"""

from __future__ import annotations

import torch

from fastconv import UnsupportedError
from fastconv.backends.numba_cuda.ladder import ALGORITHMS
from fastconv.bench.contestants.fastconv_adapter import Fastconv
from fastconv.bench.devices.cuda import Cuda
from fastconv.bench.problems import Problem, conv, pool
from fastconv.bench.truth import allowed, expected, fault

CASES = (
    conv("small.first", "small", 2, 1, 9, 5, 3, W=11, padding=1),
    conv("small.edges", "small", 3, 17, 7, 35, 3, padding=1),
    conv("small.pointwise", "small", 2, 20, 5, 33, 1),
    conv("small.strided", "small", 2, 3, 11, 4, 3, stride=2, padding=2, dilation=2),
    conv("small.grouped", "small", 2, 6, 6, 4, 3, padding=1, groups=2),
    conv("small.depthwise", "small", 5, 6, 8, 12, 3, padding=1, groups=6),
    pool("small.max", "small", "max", 2, 3, 9, 3, 2, 1),
    pool("small.pairs", "small", "max", 2, 3, 8, 2),
    pool("small.avg", "small", "avg", 2, 3, 9, 3, 2, 1),
)


@torch.no_grad()
def run(device: str, cases: tuple[Problem, ...] = CASES, rungs: tuple[str, ...] = ALGORITHMS) -> tuple[int, list[str]]:
    """Call every rung for every operation: how many calls there were, and what was wrong with which."""
    calls, faults = 0, []
    for case in cases:
        given = Cuda("cpu").operands(case)
        there = given.to(device)
        for operation in (o for o in case.operations if case.kind != "conv" or o != "backward"):
            right = expected(case, operation, given)
            for backend in [f"cuda:{rung}" for rung in rungs] if case.kind == "conv" else ["cuda"]:
                contestant = Fastconv(backend)
                try:
                    result = contestant.arrays(contestant.call(case, operation, there)())
                except UnsupportedError:
                    continue
                calls += 1
                most = allowed(case, operation, backend == "cuda:tf32")
                wrong = fault([torch.as_tensor(part).cpu() for part in result], right, most)
                if wrong is not None:
                    faults.append(f"{case.name} {operation} {backend}: {wrong}")
    return calls, faults


if __name__ == "__main__":
    made, found = run("cuda")
    print(f"{made} calls", *found, sep="\n")
    raise SystemExit(1 if found else 0)
