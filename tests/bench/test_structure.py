"""The bench's modules depend on one another one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Container
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]


def imported(path: Path, modules: Container[str]) -> set[str]:
    """Those of ``modules`` that a file imports when it is loaded, or for its types alone."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += ast.iter_child_nodes(node)
    return {name for name in found if name in modules}


def test_a_contestants_process_loads_no_librarys_threads_but_its_own() -> None:
    """A process begins with the modules of the command and of the worker."""
    loading = "import sys, fastconv.bench.cli, fastconv.bench.worker"
    program = f"{loading}; print(*sorted({{'torch', 'matplotlib'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_no_module_imports_itself_by_way_of_others() -> None:
    files = {}
    for path in (ROOT / "fastconv" / "bench").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {name: imported(path, files) for name, path in files.items()}
    assert {"fastconv.bench.report.compare", "fastconv.bench.report.grid"} <= graph["fastconv.bench.report.changes"]
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
