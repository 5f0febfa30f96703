"""What the backend `numba` asks its compiler for: names of the functions that it wants compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from fastconv.backends.compiler import Kernel, kernels
from fastconv.backends.numba_cpu.simd import Simd

asked_for: list[str] = []
"""Names of all functions that were asked for, in order."""


def name_of(kernel: Kernel) -> str:
    """Returns a kernel's name, and what it was made for: constant arguments, and values around it that it refers to."""
    function = kernel.function
    names, cells = function.__code__.co_freevars, function.__closure__ or ()
    around = [(name, cell.cell_contents) for name, cell in zip(names, cells, strict=True)]
    constants = [("", argument) for argument in kernel.arguments if not isinstance(argument, type)]
    made_for = sorted(_text(name, value) for name, value in around + constants)
    return f"{function.__name__}({', '.join(text for text in made_for if text)})"


def _text(name: str, value: Any) -> str:
    if isinstance(value, Simd):
        more = [each.name for each in fields(value) if each.name not in ("instructions", "dtype")]
        return " ".join([value.instructions.name, value.dtype, *(f"{each}={getattr(value, each)}" for each in more)])
    return f"{name}={value}" if isinstance(value, int | str | tuple) else ""


def do_not_compile() -> None:
    """Note what is asked for, in this process from now on, and compile nothing: what is planned can't run.

    The address of a kernel is its place in `asked_for`, counted from 1.
    """

    def only_noted(make: Callable[..., Kernel], constants: tuple[Any, ...]) -> int:
        asked_for.append(name_of(make(*constants)))
        return len(asked_for)

    kernels._address = only_noted


def note_compiled() -> None:
    """Note what is asked for, in this process from now on."""
    address = kernels._address

    def noted(make: Callable[..., Kernel], constants: tuple[Any, ...]) -> int:
        asked_for.append(name_of(make(*constants)))
        return address(make, constants)

    kernels._address = noted
