"""A kernel is a function of integers that compiled code calls by its address; it is made for some constants.

The constants and the function that makes a kernel of them are its key: where object code for this key, these sources
and this processor is on disk, nothing is compiled.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from functools import cache, wraps
from pathlib import Path
from types import FunctionType
from typing import Any, ParamSpec

from fastconv.backends.compiler import store
from fastconv.backends.compiler.deferred import Deferred
from fastconv.backends.compiler.loading import load
from fastconv.backends.compiler.locks import undisturbed
from fastconv.backends.compiler.sources import package_stamp
from fastconv.backends.compiler.target import target

P = ParamSpec("P")


@dataclass(frozen=True)
class Kernel:
    """A `Kernel` is a function to compile, and what its arguments are."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    """A class for each argument: ``int``, or a class of named integers, whose address the argument is."""
    returns: bool = False
    """True if it returns an integer."""


def integers(function: Callable[..., Any]) -> Kernel:
    """Return a kernel whose arguments are integers."""
    return Kernel(function, (int,) * function.__code__.co_argcount)


def kernel(make: Callable[P, Kernel]) -> Callable[P, int]:
    """Return ``make`` as a function that returns the address of the kernel that ``make`` returns for some constants.

    The kernel is compiled, or its code read from disk, at the first call with these constants, and once for threads
    that ask at the same time. The code lives as long as the process. A call through an address costs a few cycles, and
    spares the caller from being compiled again for each function that it may call.
    """
    made: dict[tuple[Any, ...], int] = {}

    def found_or_made(constants: tuple[Any, ...]) -> int:
        if constants not in made:
            made[constants] = _address(make, constants)
        return made[constants]

    @cache
    @wraps(make)
    def address(*constants: Any) -> int:
        return undisturbed(lambda: found_or_made(constants))

    return address  # type: ignore[return-value]  # the cache's wrapper has other parameters


def _address(make: Callable[..., Kernel], constants: tuple[Any, ...]) -> int:
    """Return the address of the kernel that ``make`` makes for some constants."""
    package = make.__module__.rpartition(".")[0]
    key = f"{text_of(make)}{text_of(constants)}"
    name = f"{make.__name__.strip('_')}_{_digest(key)}"
    kept = store.folder(_folder_of(package))
    file = kept / f"{_prefix(package)}.{name}.o" if kept else None
    code = store.read(file) if file else None
    if code is None:
        from fastconv.backends.compiler.object_code import object_code

        code = object_code(make(*constants), name)
        if kept and file:
            store.write(file, code)
            store.tidy(kept, f"{_package_digest(package)}.*.o", _prefix(package))
    return load(code, name)


def text_of(value: Any) -> str:
    """Return a text that tells constants apart: numbers, texts, tuples and dataclasses of such, classes and functions.

    Functions that are made inside another one differ by the constants of that one that they refer to.

    Raises:
        TypeError: for another object, whose text might not say all.
    """
    if value is None or isinstance(value, bool | int | float | str | Fraction):
        return repr(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(text_of, value))})"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Deferred):
        return text_of(value.function)
    if isinstance(value, FunctionType):
        inside = (text_of(cell.cell_contents) for cell in value.__closure__ or ())
        return f"{value.__module__}.{value.__qualname__}[{', '.join(inside)}]"
    if is_dataclass(value):
        inside = (f"{each.name}={text_of(getattr(value, each.name))}" for each in fields(value) if each.init)
        return f"{type(value).__qualname__}({', '.join(inside)})"
    raise TypeError(f"a kernel can't be made for {value!r}, whose text may not tell it from others")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _root(package: str) -> str:
    """Return the package whose files kernels call one another in: a backend's."""
    backends = __package__.rpartition(".")[0]
    inside = package.removeprefix(f"{backends}.")
    return f"{backends}.{inside.partition('.')[0]}" if inside != package else package.partition(".")[0]


@cache
def _folder_of(package: str) -> Path:
    return Path(str(importlib.resources.files(_root(package))))


@cache
def _package_digest(package: str) -> str:
    """Return a text for the place of a package: several versions may share a folder."""
    return _digest(str(_folder_of(package)))[:8]


@cache
def _prefix(package: str) -> str:
    """Return the beginning of the names of files: those of other sources or another processor have another."""
    made_by = f"{package_stamp(_root(package))} {package_stamp(__package__)} {target()}"
    return f"{_package_digest(package)}.{_digest(made_by)}"
