"""What the backend `numba` asks Numba for: names of the functions that it wants the addresses of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from numba.core.ccallback import CFunc

from fastconv.backends import jit
from fastconv.backends.numba_cpu.simd import Simd

asked_for: list[str] = []
"""Names of all functions of which an address was asked for, in order."""


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


def note(*, compiling: bool) -> None:
    """Note what is asked for, in this process from now on; without ``compiling`` nothing that is planned can run."""
    jit.CFunc = _Noted if compiling else _NotCompiled
