"""What other packages keep to themselves is used in one file each, and docs/private-interfaces.md lists all of it.

The sources are searched for what shows a private interface: a name that begins with an underscore and isn't ours, a
module of Numba's that its manual doesn't describe, ctypes, which reaches into memory, and `super` of another class.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from fastconv.interfaces import missing, require

ROOT = Path(__file__).parents[1]
LIST = ROOT / "docs" / "private-interfaces.md"

PUBLIC = {
    *("numba.config", "numba.extending", "numba.types", "numba.core.types", "numba.core.cgutils"),
    *("numba.cuda", "numba.cuda.extending", "numba.cuda.types"),
}
"""What Numba's manual describes, or its own name for that."""
UNDOCUMENTED = {"add_overload", "insert_user_function", "__prepare_scriptable__"}
"""Interfaces that no other sign shows."""
DESCRIBED = {"_asdict", "_exit", "_fields", "_make", "_replace"}
"""Names that Python's manual describes: those of named tuples, and os._exit."""
ENDINGS = {"endswith", "removeprefix", "removesuffix", "startswith"}
"""Methods whose argument is a part of a text, not a name."""
NO_INTERFACES = {"_latest", "_library", "_relu"}
"""Texts that only look like private names: keys of our own, and the end of an operation's name."""
TEXTS = {"numba.np.ufunc"}
"""Modules that are named by a text in the sources."""


def _is_private(name: str) -> bool:
    return re.fullmatch(r"_[A-Za-z]\w*", name) is not None


@cache
def _trees() -> dict[str, ast.Module]:
    files = [file for package in ("fastconv", "bench") for file in (ROOT / package).rglob("*.py")]
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text(encoding="utf-8")) for file in sorted(files)}


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names that a file imports from other packages, each with what it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.asname or name.name.partition(".")[0], name.name
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for name in node.names:
                yield name.asname or name.name, f"{node.module}.{name.name}"


def _overridden(node: ast.ClassDef, imports: dict[str, str]) -> set[str]:
    """The private methods of a class that replace those of a class of another package."""
    methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef) and _is_private(each.name)}
    found: set[str] = set()
    for base in node.bases if methods else ():
        first, _, rest = ast.unparse(base).partition(".")
        path = f"{imports.get(first, first)}.{rest}".strip(".")
        module, _, name = path.rpartition(".")
        if module and not module.startswith(("fastconv", "bench")):
            theirs = getattr(importlib.import_module(module), name)
            found |= {method for method in methods if hasattr(theirs, method)}
    return found


@cache
def _own() -> set[str]:
    """The private attributes that classes of ours define or give to their objects."""
    found: set[str] = set()
    for tree in _trees().values():
        imports = dict(_imports(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                names = {each.name for each in node.body if isinstance(each, (ast.FunctionDef, ast.ClassDef))}
                targets = [each.targets[0] for each in node.body if isinstance(each, ast.Assign)]
                targets += [each.target for each in node.body if isinstance(each, ast.AnnAssign)]
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
                found |= names - _overridden(node, imports)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found |= {node.attr} if ast.unparse(node.value) in ("self", "cls") else set()
    return found


def _used(tree: ast.Module) -> set[str]:
    """The private interfaces that a file uses, by their last names."""
    imports = dict(_imports(tree))
    found: set[str] = set()
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_private(node.attr)}
    inner |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    inner |= {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ENDINGS
        for part in node.args
    }
    for path in imports.values():
        package, *parts = path.split(".")
        if package in ("fastconv", "bench", "__future__"):
            continue
        described = path in PUBLIC or path.rpartition(".")[0] in PUBLIC or package != "numba" or not parts
        found |= {part for part in parts if _is_private(part)} or (set() if described else {parts[-1]})
        found |= {"ctypes"} & {package}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found |= _overridden(node, imports)
        if isinstance(node, ast.Attribute) and (_is_private(node.attr) or node.attr in UNDOCUMENTED):
            found |= {node.attr} - _own() - DESCRIBED if id(node) not in inner else set()
        if isinstance(node, ast.FunctionDef) and node.name in UNDOCUMENTED:
            found.add(node.name)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if _is_private(node.value) and id(node) not in inner and not node.value.startswith("_fastconv"):
                found |= {node.value} - _own() - NO_INTERFACES
            if re.fullmatch(r"numba(\.\w+)+\.?", node.value) and node.value not in PUBLIC:
                found.add(node.value.strip("."))
        if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name) and node.func.id == "super":
            found.add("super")
    return found


def _listed() -> dict[tuple[str, str], str]:
    """Each interface of the list and its file, with the interface's last name, by which sources show it."""
    found = {}
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            _, interfaces, file, *_ = line.split("|")
            for name in re.findall("`([^`]+)`", interfaces):
                path = name.partition("(")[0]
                found[name, file.strip(" `")] = path if path in TEXTS else path.rpartition(".")[2]
    return found


def test_the_list_has_what_the_sources_use() -> None:
    used = {(name, file) for file, tree in _trees().items() for name in _used(tree)}
    listed = {(last, file) for (_, file), last in _listed().items()}
    assert used - listed == set(), "add these to the list, each with its reason, or do without them"
    assert listed - used == set(), "these are in the list and no longer in the sources"


def test_each_interface_is_used_in_one_file() -> None:
    names = [name for name, _ in _listed() if name != "ctypes"]
    assert sorted(names) == sorted(set(names))


PLANTED = {
    "attribute": ("import torch\ntorch._C._anything()", {"_anything"}),
    "of an object": ("def f(x): return x._impl", {"_impl"}),
    "own": ("class A:\n    def __init__(self): self._planner = 1\n    def f(self): return self._planner", set()),
    "name": ("from torch._dynamo import reset", {"_dynamo"}),
    "module": ("import numba.np.ufunc.omppool", {"omppool"}),
    "described": ("from numba.core import cgutils, types\nfrom numba.extending import intrinsic", set()),
    "override": ("from torch import nn\nclass A(nn.Conv2d):\n    def _conv_forward(self): ...", {"_conv_forward"}),
    "text": ("def f(x): return getattr(x, '_backend_hooks')", {"_backend_hooks"}),
    "ctypes": ("import ctypes", {"ctypes"}),
    "frame": ("import sys\nsys._getframe()", {"_getframe"}),
    "super": ("def f(cls): return super(int, cls).apply", {"super"}),
    "tuple": ("def f(x): return x._replace(a=1)", set()),
}


@pytest.mark.parametrize(("source", "found"), PLANTED.values(), ids=PLANTED)
def test_what_shows_a_private_interface(source: str, found: set[str]) -> None:
    assert _used(ast.parse(source)) == found


class _Package:
    present = 1


def test_a_missing_interface_is_named() -> None:
    assert (
        missing((_Package, "present"), (_Package, "_absent"), (_Package(), "_gone"))
        == "_Package._absent, _Package._gone"
    )
    require("numpy", "2.4.6", (_Package, "present"))
    with pytest.raises(
        ImportError, match=r"numpy \d.* has no _Package._absent, which fastconv needs; numpy 2.4.6 has it"
    ):
        require("numpy", "2.4.6", (_Package, "_absent"))
