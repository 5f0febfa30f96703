"""House rules that a program can check: no import circle, files and functions that can be read at once."""

from __future__ import annotations

import ast
import importlib.util
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fastconv

ROOT = Path(fastconv.__file__).parent
FOLDER = ROOT / "backends" / "numba_cpu"
FILES = sorted(FOLDER.rglob("*.py"))

MOST_MODULES, MOST_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 9, 300, 80, 12


def within_folder(path: Path) -> str:
    """Returns a file's path within the backend's folder."""
    return path.relative_to(FOLDER).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """Returns a file's syntax."""
    return ast.parse(path.read_text())


def module_of(path: Path) -> str:
    """Returns the name by which a file of the library is imported."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yields what runs when a module is imported: not functions, nor what only type checkers read."""
    for each in body:
        yield each
        if isinstance(each, ast.If) and "TYPE_CHECKING" in ast.unparse(each.test):
            yield from statements(each.orelse)
        elif not isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            for field in ("body", "orelse", "finalbody"):
                yield from statements(getattr(each, field, []))
            for handler in getattr(each, "handlers", []):
                yield from statements(handler.body)


def imported(name: str) -> set[str]:
    """Returns the library's modules that a module needs before it is complete."""
    path = PATHS[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for each in statements(tree(path).body):
        if isinstance(each, ast.Import):
            found |= {alias.name for alias in each.names}
        elif isinstance(each, ast.ImportFrom):
            base = importlib.util.resolve_name("." * each.level + (each.module or ""), package)
            # ``from package import module`` needs the module; that of a name, the module that the name is in.
            inside = {f"{base}.{alias.name}" for alias in each.names}
            found |= {part if part in PATHS else base for part in inside}
    return {module for module in found if module in PATHS and module != name}


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yields all functions of a file with their names, which say what they stand in."""

    def within(node: ast.AST, outer: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for child in ast.iter_child_nodes(node):
            name = outer
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{outer}.{child.name}"
                yield name, child
            elif isinstance(child, ast.ClassDef):
                name = f"{outer}.{child.name}"
            yield from within(child, name)

    return within(tree(path), within_folder(path))


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Returns how many parameters a function has."""
    at = function.args
    return len([*at.posonlyargs, *at.args, *at.kwonlyargs, *filter(None, (at.vararg, at.kwarg))])


def assert_no_larger(measured: Iterator[tuple[str, int]], most: int) -> None:
    """Raises an error that lists what is too large."""
    large = {name: size for name, size in measured if size > most}
    assert not large, f"more than {most}: {large}"


def test_no_import_circle() -> None:
    graph = {name: imported(name) for name in PATHS}
    assert sum(map(len, graph.values())) > 300
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import one another: {' <- '.join(error.args[1])}")


def test_folders_can_be_looked_over() -> None:
    counts = Counter(path.parent for path in FILES if path.name != "__init__.py")
    assert all(count <= MOST_MODULES for count in counts.values()), counts


def test_files_can_be_read_at_once() -> None:
    assert_no_larger(((within_folder(path), len(path.read_text().splitlines())) for path in FILES), MOST_LINES)


def test_functions_can_be_read_at_once() -> None:
    sizes = ((name, (each.end_lineno or 0) - each.lineno + 1) for path in FILES for name, each in functions(path))
    assert_no_larger(sizes, MOST_FUNCTION_LINES)


def test_functions_have_few_parameters() -> None:
    sizes = ((name, parameters(each)) for path in FILES for name, each in functions(path))
    assert_no_larger(sizes, MOST_PARAMETERS)
