"""A kernel is a function of integers that compiled code calls by its address; it is made for some constants.

The constants and the function that makes a kernel of them are its key: where object code for this key, these sources
and this processor is on disk, nothing is compiled.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from fractions import Fraction
from functools import cache, wraps
from pathlib import Path
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

from fastconv.backends.compiler import ahead, store
from fastconv.backends.compiler.ahead.claims import claim
from fastconv.backends.compiler.deferred import Deferred, Kernel
from fastconv.backends.compiler.locks import import_error, undisturbed
from fastconv.backends.compiler.processor import levels, load, processor
from fastconv.backends.compiler.store import package_stamp
from fastconv.errors import BackendUnavailableError

P = ParamSpec("P")
T = TypeVar("T", bound=Callable[..., Any])

_PATIENCE = 20.0
"""Seconds to wait for another process that compiles the same kernel, which takes one: it may have been stopped."""


def integers(function: Callable[..., Any]) -> Kernel:
    """Return a kernel whose arguments are integers."""
    return Kernel(function, (int,) * function.__code__.co_argcount)


def named(function: T, other: Callable[..., Any]) -> T:
    """Return a function with the name and the description of another one, which it is made for."""
    # Not by functools.update_wrapper: Numba would take the other function's arguments.
    function.__name__, function.__qualname__, function.__doc__ = other.__name__, other.__qualname__, other.__doc__
    return function


def compiled(make: Callable[P, Kernel]) -> Callable[P, int]:
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
        if _listed is not None:
            _listed.append(Code(make, constants))
            return 0
        return undisturbed(lambda: found_or_made(constants))

    return address  # type: ignore[return-value]  # the cache has other parameters


def _address(make: Callable[..., Kernel], constants: tuple[Any, ...]) -> int:
    code = Code(make, constants)
    return load(code.find() or code.make(), code.name)


class Code:
    """This is the object code of the kernel that a function makes for some constants."""

    def __init__(self, make: Callable[..., Kernel], constants: tuple[Any, ...]) -> None:
        self._make, self._constants = make, constants
        self._package = make.__module__.rpartition(".")[0]
        self.name = f"{make.__name__.strip('_')}_{_digest(f'{text_of(make)}{text_of(constants)}')}"
        self._places = store.folders(folder_of(self._package))
        self._file = f"{_prefix(self._package)}.{self.name}.o"
        self.bundled = f"{sources(self._package)}.{self.name}.o"
        """The code's name in a bundle."""

    def find(self) -> bytes | None:
        """Return the code if it is on disk or bundled."""
        bundled = folder_of(self._package), levels(), self.bundled
        return store.read(self._places, self._file) or store.read_bundled(*bundled)

    def make(self) -> bytes:
        """Return the code, which is compiled if need be."""
        folder = store.writable(self._places)
        if folder is not None:
            ahead.begin()
        with claim(folder, self._file, _PATIENCE):
            return self.find() or self._compile(folder)

    def make_ahead(self) -> None:
        """Have the code on disk, unless another process is compiling it."""
        folder = store.writable(self._places)
        if self.find() is None:
            with claim(folder, self._file, 0) as ours:
                if ours and self.find() is None:
                    self._compile(folder)

    def emit(self) -> bytes:
        """Return the code, which is compiled, whether it is on disk or not."""
        try:
            from fastconv.backends.compiler.object_code import object_code
        except Exception as error:  # Numba is missing, too old or broken
            name = self._make.__name__
            what = f"the kernel {name!r} is not on disk, and Numba, which would compile it, can't be imported"
            raise BackendUnavailableError(f"{what}: {type(error).__name__}: {error}") from error
        _announce()
        return object_code(self._make(*self._constants), self.name)

    def _compile(self, folder: Path | None) -> bytes:
        """Compile the code, and keep it in a folder if there is one."""
        code = self.emit()
        if folder is not None:
            store.keep(folder, self._file, code)
            store.tidy(folder, f"{_package_digest(self._package)}.*.o", _prefix(self._package))
        return code


_listed: list[Code] | None = None


@contextmanager
def listing() -> Iterator[list[Code]]:
    """Give a list of the kernels that are asked for inside the block; none is compiled, and their addresses are 0.

    Only a process that runs none of what it plans may do so, since plans and addresses are kept. To call an `Entry`
    there does nothing.
    """
    global _listed
    _listed = []
    try:
        yield _listed
    finally:
        _listed = None


@cache
def _announce() -> None:
    """Tell a user at a terminal, once, what is waited for: a first convolution takes some seconds to compile."""
    if sys.stderr is not None and sys.stderr.isatty():
        print("fastconv compiles kernels, once for this machine ...", file=sys.stderr, flush=True)


def unavailable(package: str) -> str | None:
    """Return why a package's kernels can't be had here, or None: there is code on disk, or Numba can be imported."""
    here = folder_of(package)
    if store.holds_any(here, levels(), sources(package)) or any(
        next(place.glob(f"{_prefix(package)}.*"), None) for place in store.folders(here)
    ):
        return None
    return import_error(f"{__package__}.object_code")


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
def folder_of(package: str) -> Path:
    """Return the folder of the package whose files a package's kernels are made from."""
    return Path(str(importlib.resources.files(_root(package))))


@cache
def _package_digest(package: str) -> str:
    """Return a text for the place of a package: several versions may share a folder."""
    return _digest(str(folder_of(package)))[:8]


@cache
def sources(package: str) -> str:
    """Return a text that differs between versions of the sources that a package's kernels are made from."""
    return _digest(f"{package_stamp(_root(package))} {package_stamp(__package__)}")


@cache
def _prefix(package: str) -> str:
    """Return the beginning of the names of files: those of other sources or another processor have another."""
    return f"{_package_digest(package)}.{_digest(f'{sources(package)} {processor()}')}"
