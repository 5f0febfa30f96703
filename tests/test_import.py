"""Loading fastconv is quick and light: no torch, no CUDA, no compiler; and no file imports itself through others."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def _run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


CALLS = """
import numpy as np, fastconv
x = np.ones((1, 1, 2, 2))
with fastconv.use_backend("im2col"):
    fastconv.conv2d(x, x)
    fastconv.max_pool2d(x, 2)
fastconv.set_num_threads(fastconv.get_num_threads())
"""


@pytest.mark.parametrize("program", ["import fastconv", CALLS], ids=["import", "im2col"])
def test_what_is_loaded(program: str) -> None:
    loaded = json.loads(_run(f"{program}\nimport sys, json; print(json.dumps(list(sys.modules)))"))
    heavy = {"torch", "numba", "llvmlite", "cuda", "numba_cuda", "matplotlib", "scipy"}
    assert heavy.isdisjoint(loaded)


BROKEN = {
    "numba_missing": ("numba.py", "raise ModuleNotFoundError(\"No module named 'numba'\")", "numba", "No module named"),
    "numba_broken": ("numba.py", "raise OSError('a library is missing')", "numba", "a library is missing"),
    "numba_old": ("numba.py", "config = None", "numba", "'numba' is not a package"),
    "compiler_off": (None, "", "numba", "unset NUMBA_DISABLE_JIT"),
    "torch_broken": ("torch.py", "raise OSError('a library is missing')", "torch", "a library is missing"),
}
LISTING = """
import sys, numpy as np, fastconv
from fastconv.__main__ import main
from fastconv.backends.compiler import store
store.read_bundled, store.holds_any = lambda *_: None, lambda *_: False
state = {each.name: each for each in fastconv.backends()}
x = np.ones((1, 1, 4, 4), np.float32)
assert fastconv.conv2d(x, x[..., :2, :2]).tolist() == [[[[4.0] * 3] * 3]]
assert main(["info"]) == 0
each = state[sys.argv[1]]
print(each.available, each.reason)
"""


@pytest.mark.parametrize(("file", "content", "broken", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_package_is_listed_with_the_reason(
    file: str | None, content: str, broken: str, reason: str, tmp_path: Path
) -> None:
    """With kernels on disk or in a bundle, the backend `numba` would be there without its compiler."""
    path = os.pathsep.join([str(tmp_path), *sys.path])
    env = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    if file is None:
        env["NUMBA_DISABLE_JIT"] = "1"
    else:
        (tmp_path / file).write_text(content)
    command = [sys.executable, "-c", LISTING, broken]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("False")
    assert reason in last


def test_tensors_before_fastconv_torch_is_imported() -> None:
    program = """
import torch, fastconv
try:
    fastconv.max_pool2d(torch.ones(1, 1, 2, 2), 2)
except TypeError as error:
    print(error)
import fastconv.torch
print(fastconv.max_pool2d(torch.ones(1, 1, 2, 2), 2).shape)
"""
    refusal, shape = _run(program).splitlines()
    assert refusal == "input: got torch.Tensor, but tensors are taken once fastconv.torch is imported"
    assert shape == "torch.Size([1, 1, 1, 1])"


ROOT = Path(__file__).parents[1]


def _imports(file: Path, modules: set[str]) -> set[str]:
    """The modules of ours that a file imports, also those inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = {f"{node.module}.{name.name}" for name in node.names}
            found |= names & modules or {node.module}
    return found & modules


def _circle(graph: dict[str, set[str]]) -> set[str]:
    """What is left of a graph when all that leads to no circle, or is reached by none, is taken away."""
    left = set(graph)
    while True:
        inner = {node for node in left if graph[node] & left and any(node in graph[other] for other in left)}
        if inner == left:
            return left
        left = inner


@pytest.mark.parametrize("package", ["fastconv", "tests"])
def test_no_circles(package: str) -> None:
    files = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in (ROOT / package).rglob("*.py")
    }
    graph = {name: _imports(file, set(files)) - {name} for name, file in files.items()}
    assert _circle(graph) == set()


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a"}}
    assert _circle(graph) == {"b", "c"}
