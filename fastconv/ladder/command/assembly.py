"""What the compiler made of a rung: vector instructions by width, and the lines of its innermost loop.

A rung is compiled once more, since Numba can't show code that it loaded from a cache. Names of registers tell the
width: xmm 128 bits, ymm 256, zmm 512, on ARM v 128; "scalar" is one number in such a register.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np

from fastconv.backends.jit import straight_line_vectors
from fastconv.errors import ArgumentValueError
from fastconv.ladder.backend import GRADIENTS, rung
from fastconv.ladder.command import layer
from fastconv.ladder.command.measuring import operands

LONGEST = 40
"""Lines of a loop that are shown; the rest is counted."""

_LABEL = re.compile(r"^(\.?[\w.$]+):")
_JUMP = re.compile(r"^\s+(?:j\w+|b(?:\.\w+)?|cbn?z\s+\w+,|tbn?z\s+.*,)\s+(\.?[\w.$]+)\s*$")
_MULTIPLY_ADD = re.compile(r"^v?f(n?m)(add|sub)|^fml[as]|^fn?m(add|sub)")
_MULTIPLY = re.compile(r"^v?(mul|add)[ps][sd]|^f(mul|add)$")
_BASE = re.compile(r"\(%(\w+)|\[(\w+)")
"""The register with an array's address, in the notation of x86 or of ARM."""


@dataclass(frozen=True)
class Code:
    """The machine code of a rung: multiply-adds by the width of their registers, and the loop that has most of them."""

    number: str
    multiply_adds: dict[str, int]
    """Fused multiply-adds in the whole function, by width."""
    loop: list[str] = field(default_factory=list)
    """Instructions of the innermost loop in which most arithmetic stands."""


def code(number: str, text: str) -> Code:
    """Returns the machine code of a rung, compiled for float32.

    Raises:
        ArgumentValueError: the rung has no compiled code of its own.
    """
    module = rung(number)
    if not hasattr(module, "kernel"):
        raise ArgumentValueError("rung", number, "it must be one with compiled code of its own, which 1 and 7 have not")
    g = layer.parse(text)
    g = layer.depthwise(g) if number == "11" else g
    x, w, b, grad = operands(g)
    if number == GRADIENTS:
        module.conv2d_input(grad, w, g)
    else:
        reason = getattr(module, "refuses", lambda _: None)(g)
        if reason:
            raise ArgumentValueError("layer", repr(text), reason)
        module.conv2d(x, w, b, g)
    dispatcher = module.kernel(np.dtype("float32"))
    return read(number, _assembly(dispatcher))


def _assembly(dispatcher: Any) -> str:
    """Returns the assembly of a compiled function's first form."""
    options = {name: value for name, value in dispatcher.targetoptions.items() if name != "nopython"}
    straight = numba.njit(**options)(dispatcher.py_func)
    tiles = "add_products" in dispatcher.py_func.__code__.co_freevars
    with straight_line_vectors() if tiles else nullcontext():
        straight.compile(dispatcher.signatures[0])
    texts: dict[Any, str] = straight.inspect_asm()
    return next(iter(texts.values()))


def read(number: str, assembly: str) -> Code:
    """Returns the counts and the loop of an assembly text."""
    lines = [line.split("#")[0].rstrip() for line in assembly.splitlines()]
    lines = [line for line in lines if line and not re.match(r"^\s*\.(?!L)", line)]
    counts = Counter(_width(line) for line in lines if _MULTIPLY_ADD.match(line.strip()))
    loops = sorted(_innermost(lines), key=_rank)
    loop = [" ".join(line.split()) for line in loops[-1] if not _LABEL.match(line)] if loops else []
    return Code(number, dict(sorted(counts.items())), loop)


def _width(line: str) -> str:
    """Returns the width of an instruction's registers."""
    name = line.split(maxsplit=1)[0]
    if re.search(r"s[sd]$", name):
        return "scalar"
    for register in ("zmm", "ymm", "xmm"):
        if f"%{register}" in line:
            return register
    return "v" if re.search(r"\bv\d+\.", line) else "scalar"


def _innermost(lines: list[str]) -> list[list[str]]:
    """Returns the loops that hold no other: the lines from a label to the last jump back to it."""
    labels = {found[1]: at for at, line in enumerate(lines) if (found := _LABEL.match(line))}
    ends: dict[int, int] = {}
    for at, line in enumerate(lines):
        found = _JUMP.match(line)
        if found and labels.get(found[1], at + 1) < at:
            ends[labels[found[1]]] = at
    spans = list(ends.items())
    inner = [span for span in spans if not any(span[0] <= a and b <= span[1] and (a, b) != span for a, b in spans)]
    return [lines[first : last + 1] for first, last in inner]


def _rank(loop: list[str]) -> tuple[bool, int, int, int]:
    """Returns what tells the main loop: it reads two arrays, and multiplies and adds the widest vectors, most of them.

    A loop for rows outside the image reads weights alone. Of loops over single numbers the one with a single product
    comes first: a kernel's row has too few taps for those that take several in a turn.
    """
    arrays = {base for line in loop for pair in _BASE.findall(line) for base in pair}
    lanes = {"zmm": 16, "ymm": 8, "xmm": 4, "v": 4, "scalar": 1}
    names = [line.strip() for line in loop]
    fused = [lanes[_width(name)] for name in names if _MULTIPLY_ADD.match(name)]
    others = [lanes[_width(name)] for name in names if _MULTIPLY.match(name)]
    total, widest = 2 * sum(fused) + sum(others), max((*fused, *others), default=0)
    return len(arrays - {"", "rsp", "rbp", "sp"}) > 1, widest, total if widest > 1 else -total, -len(loop)
