"""What the backend `numba` asks Numba for: names of the functions that it wants compiled."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from numba.core.ccallback import CFunc
from numba.core.dispatcher import Dispatcher

from fastconv.backends import jit
from fastconv.backends.numba_cpu.simd import Simd

asked_for: list[str] = []
"""Names of all functions that were asked for, in order."""


def name_of(function: Callable[..., Any]) -> str:
    """Returns a function's name, and what it was made for: the values around it that it refers to."""
    names, cells = function.__code__.co_freevars, function.__closure__ or ()
    made_for = sorted(_text(name, cell.cell_contents) for name, cell in zip(names, cells, strict=True))
    return f"{function.__name__}({', '.join(text for text in made_for if text)})"


def _text(name: str, value: Any) -> str:
    if isinstance(value, Simd):
        more = [each.name for each in fields(value) if each.name not in ("instructions", "dtype")]
        return " ".join([value.instructions.name, value.dtype, *(f"{each}={getattr(value, each)}" for each in more)])
    return f"{name}={value}" if isinstance(value, int | str | tuple) else ""


class _NotCompiled:
    """Stands for a compiled function; its address is its place in `asked_for`, counted from 1."""

    cache_hits = 0

    def __init__(self, function: Callable[..., None], *rest: Any, **options: Any) -> None:
        asked_for.append(name_of(function))
        self.address = len(asked_for)

    def compile(self) -> None:
        """Does nothing."""


class _Noted(CFunc):
    """A compiled function whose name is noted."""

    def __init__(self, function: Callable[..., None], *rest: Any, **options: Any) -> None:
        asked_for.append(name_of(function))
        super().__init__(function, *rest, **options)


def do_not_compile() -> None:
    """Note what is asked for, in this process from now on, and compile nothing: what is planned can't run."""
    jit.CFunc = _NotCompiled


def note_compiled() -> None:
    """Note what is asked for, in this process from now on, and what else Python calls, for each kind of arguments.

    Functions that compiled code calls too are left out: whether they have code already depends on the cache.
    """
    jit.CFunc = _Noted
    modules = [module for name, module in sys.modules.items() if name.startswith("fastconv.")]
    functions = [value for module in modules for value in vars(module).values() if isinstance(value, Dispatcher)]
    within = {
        id(function.py_func.__globals__.get(name))
        for function in functions
        for name in function.py_func.__code__.co_names
    }
    for function in {id(each): each for each in functions if id(each) not in within}.values():
        _note_calls(function)


def _note_calls(function: Dispatcher) -> None:
    """Note the calls from Python that find no code for their arguments; compiled code has ways of its own."""
    compile_for = function._compile_for_args

    def noted(*arguments: Any) -> Any:
        asked_for.append(f"{function.__name__} from Python")
        return compile_for(*arguments)

    function._compile_for_args = noted
