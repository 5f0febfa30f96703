"""Makes docs/ladder.ipynb of rungs 01 to 06 of the CPU's ladder: their texts as cells, each timed beside its peak.

The cells share one namespace, so that a reader who changes a rung changes those that build on it.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "ladder.ipynb"

_BEGIN = """# The CPU's ladder, rungs 01 to 06

From the definition of a convolution to near a core's peak, in six small steps. The cells are the files of
[fastconv/ladder](https://github.com/fastconv/fastconv/tree/main/fastconv/ladder), and
[The CPU's ladder](https://github.com/fastconv/fastconv/blob/main/docs/cpu.md) is the page to read beside them. It needs
`pip install fastconv`. Change a cell, run it and those below it, and see what becomes of the speed.
"""

_SETUP = """import timeit

import numpy as np
from fastconv.cpu_limits import peak_flops
from fastconv.geometry import ConvGeometry

peak = peak_flops(1)


def operands(g):
    random = np.random.default_rng(0)
    shapes = g.input_shape, g.weight_shape, (g.K,)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


def measure(conv2d, g, repeat=5):
    \"\"\"Prints the speed of one rung, after its result has been compared with the definition's.\"\"\"
    for each, times in ((small, 1), (g, repeat)):
        x, w, b = operands(each)
        y = conv2d(x, w, b, each)
        seconds = min(timeit.repeat(lambda: conv2d(x, w, b, each), number=1, repeat=times))
        if each == small:
            assert np.allclose(y, right, atol=1e-4), "the result is wrong"
    rate = g.flops / seconds
    print(f"{rate / 1e9:.3g} GFLOP/s, {rate / peak:.2g} of the peak")


small = ConvGeometry(1, 4, 12, 12, 4, 3, 3, padding=(1, 1, 1, 1))
layer = ConvGeometry(1, 64, 56, 56, 64, 3, 3, padding=(1, 1, 1, 1))  # ResNet's second, one image
print(f"one core's peak: {peak / 1e9:.0f} GFLOP/s")
"""

_FIRST = """right = conv2d(*operands(small), small)
measure(conv2d, small, repeat=1)
"""


def notebook() -> str:
    """Returns the notebook's text."""
    cells = [_markdown(_BEGIN), _code(_SETUP)]
    for path in sorted((ROOT / "fastconv" / "ladder").glob("rung0[1-6]_*.py")):
        heading, code = _parts(path)
        cells += [
            _markdown(heading),
            _code(code),
            _code(_FIRST if "rung01" in path.name else "measure(conv2d, layer)\n"),
        ]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number:02}"
    whole = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _parts(path: Path) -> tuple[str, str]:
    """Returns a rung's docstring as Markdown, and its code without the imports of other rungs."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    title, _, rest = (ast.get_docstring(tree) or "").partition("\n")
    lines = text.splitlines(keepends=True)
    dropped = set(range(tree.body[0].lineno, (tree.body[0].end_lineno or 0) + 1))
    for each in tree.body:
        own = isinstance(each, ast.ImportFrom) and (each.module or "").startswith(
            ("__future__", "fastconv.ladder.rung")
        )
        if own:
            dropped |= set(range(each.lineno, (each.end_lineno or 0) + 1))
    code = "".join(line for number, line in enumerate(lines, 1) if number not in dropped).strip()
    return f"## {title}\n\n```text\n{rest.strip(chr(10))}\n```\n", f"{code}\n"


def _markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text.strip().splitlines(keepends=True)}


def _code(text: str) -> dict[str, Any]:
    source = text.strip().splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook(), encoding="utf-8")
    print(NOTEBOOK.relative_to(ROOT))
