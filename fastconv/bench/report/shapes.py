"""A problem's shape in a few characters, so that readers find the layer that is like theirs."""

from __future__ import annotations

from functools import cache

from fastconv import ConvGeometry
from fastconv.bench.problems import PROBLEMS, Problem


def shape(problem: str) -> str:
    """For example "8x64x56x56 → 128, 3x3, stride 2"; N C H W, output channels, window; "" for one not in the table."""
    found = _problems().get(problem)
    return _describe(found) if found else ""


def _describe(problem: Problem) -> str:
    g = problem.geometry
    words = [f"{g.N}x{g.C}x{g.H}x{g.W}"]
    words[0] += f" → {g.K}" if isinstance(g, ConvGeometry) else ""
    words.append(f"{g.R}x{g.S}" + (f", stride {g.stride[0]}" if g.stride != (1, 1) else ""))
    if isinstance(g, ConvGeometry):
        words += [f"dilation {g.dilation[0]}"] if g.dilation != (1, 1) else []
        words += ["depthwise" if g.groups == g.C else f"{g.groups} groups"] if g.groups > 1 else []
    else:
        words.append(problem.kind)
    return ", ".join(words)


@cache
def _problems() -> dict[str, Problem]:
    return {problem.name: problem for problem in PROBLEMS}
