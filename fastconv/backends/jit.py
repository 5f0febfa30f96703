"""The library compiles with Numba in nopython mode, without the interpreter lock, and caches on disk where it can.

A cache that can't be written or read must cost time, never an error: with no writable folder a function is compiled
anew in each process, and an entry that doesn't fit its checksum is compiled again. An entry is out of date when any
file of the function's package has changed, since kernels call one another across files; Numba by itself would look at
one file. Packages in zip files are read through their loader; where there is no source nothing is kept.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import importlib.resources
import inspect
import os
import pickle
import time
from collections.abc import Callable, Iterator
from functools import cache, wraps
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.ccallback import CFunc
from numba.core.codegen import CPUCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher, _FunctionCompiler
from numba.core.serialize import dumps

from fastconv.interfaces import require
from fastconv.shield import shielded

if numba.config.DISABLE_JIT:
    raise ImportError("Numba's compiler is turned off: unset NUMBA_DISABLE_JIT")

# Methods of Numba's own classes that ours replace or call; Numba's manual describes none of them.
for _owner, _names in (
    (FunctionCache, "load_overload save_overload"),
    (IndexDataCacheFile, "save load _dump _open_for_write _data_path"),
    (_FunctionCompiler, "_customize_flags _compile_core"),
    (Dispatcher, "_compile_for_args add_overload"),
    (CPUCodeLibrary, "_optimize_final_module _finalize_final_module _finalize_dynamic_globals"),
):
    require("numba", "0.68.1", *((_owner, _name) for _name in _names.split()))

T = TypeVar("T")

_DIGEST = hashlib.sha256().digest_size
"""Bytes of the checksum that a cache entry begins with."""

_ABANDONED = 3600
"""Seconds after which no process writes to an unfinished entry any more: to write one takes milliseconds."""


class _ForgivingCache(FunctionCache):
    """This is Numba's cache of compiled functions; an entry that is damaged or unreadable counts as a miss."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = _stamp(function)
        if stamp is None:
            raise RuntimeError("the sources can't be read")
        self._cache_file = _EntryFiles(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unpickling a damaged file may raise anything
            return None

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple(), _identity(self._py_func)

    def save_overload(self, sig: Any, data: Any) -> None:
        # The disk may be full, or the folder have become read-only.
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


class _EntryFiles(IndexDataCacheFile):
    """Each entry of the cache has one file, named after the entry's key.

    Numba numbers the files and keeps the numbers in an index. Two processes that read the index at the same time take
    the same number, and each finds the other's machine code under it ever after.
    """

    def save(self, key: Any, data: Any) -> None:
        pickled = self._dump(data)
        with self._open_for_write(self._data_path(self._name(key))) as file:
            file.write(hashlib.sha256(pickled).digest() + pickled)
        # Entries that were compiled from other sources are of no use any more.
        for old in Path(self._cache_path).glob(f"{glob.escape(self._base)}.*.nbc"):
            if not old.name.startswith(self._prefix):
                old.unlink(missing_ok=True)
        # A process that was killed while it wrote has left an unfinished file.
        for unfinished in Path(self._cache_path).glob(f"{glob.escape(self._base)}.*.nbc.tmp.*"):
            if time.time() - unfinished.stat().st_mtime > _ABANDONED:
                unfinished.unlink(missing_ok=True)

    def load(self, key: Any) -> Any:
        try:
            content = Path(self._data_path(self._name(key))).read_bytes()
        except FileNotFoundError:
            return None
        # Damaged machine code must not run, nor must LLVM read it, which ends the process.
        pickled = content[_DIGEST:]
        return pickle.loads(pickled) if hashlib.sha256(pickled).digest() == content[:_DIGEST] else None

    @property
    def _base(self) -> str:
        return self._index_name.removesuffix(".nbi")

    @property
    def _prefix(self) -> str:
        stamp = hashlib.sha256(f"{self._version} {self._source_stamp}".encode())
        return f"{self._base}.{stamp.hexdigest()[:16]}"

    def _name(self, key: Any) -> str:
        return f"{self._prefix}.{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.nbc"


def _identity(function: Callable[..., Any]) -> tuple[Any, ...]:
    """Return what tells functions of one name apart: their code, and the values it refers to in functions around it.

    Compiled functions among these stand for theirs, since Numba gives each another number in each process.
    """
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    inside = [_identity(cell.py_func) if isinstance(cell, Dispatcher) else _digest(dumps(cell)) for cell in cells]
    return function.__module__, function.__qualname__, _digest(function.__code__.co_code), *inside


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _stamp(function: Callable[..., Any]) -> str | None:
    """Return a hash of the sources that ``function`` may call into, or None where they can't be read."""
    package = getattr(inspect.getmodule(function), "__package__", "")
    if not package:
        return _sources_stamp(Path(inspect.getfile(function)).parent, deep=False)
    # A backend's files call one another; those of other backends have no part in it.
    inside = package.removeprefix(f"{__package__}.")
    root = f"{__package__}.{inside.partition('.')[0]}" if inside != package else package.partition(".")[0]
    return package_stamp(root)


@cache
def package_stamp(package: str) -> str | None:
    """Return a hash of a package's sources and of those below it, or None where they can't be read."""
    return _sources_stamp(importlib.resources.files(package), deep=True)


def _sources_stamp(folder: Traversable, deep: bool) -> str | None:
    """Return a hash of the sources in a folder, which may lie in a zip file, and with ``deep`` in those below it."""
    found = hashlib.sha256()
    any_source = False
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".py"):
            content = entry.read_bytes()
        elif deep and entry.is_dir() and entry.name != "__pycache__":
            content = (_sources_stamp(entry, deep) or "").encode()
        else:
            continue
        found.update(hashlib.sha256(entry.name.encode() + b"/" + content).digest())
        any_source = any_source or bool(content)
    return found.hexdigest() if any_source else None


def jit(function: Callable[..., Any], *, straight_lines: bool = False, **options: Any) -> Any:
    """Returns ``function``, compiled at its first call for the types it gets; ``options`` are those of numba.njit.

    With ``straight_lines`` LLVM also makes vectors of equal statements that follow one another (its SLP pass, which
    Numba leaves out unless NUMBA_SLP_VECTORIZE is set), not only of loops.
    """
    dispatcher = numba.njit(nogil=True, **options)(function)
    _keep_on_disk(dispatcher, function)
    compile_for = dispatcher._compile_for_args

    def compile_now(*arguments: Any) -> Any:
        if not straight_lines:
            return compile_for(*arguments)
        with straight_line_vectors():
            return compile_for(*arguments)

    dispatcher._compile_for_args = lambda *arguments: _compiled(lambda: compile_now(*arguments))
    return dispatcher


@contextlib.contextmanager
def straight_line_vectors() -> Iterator[None]:
    """Let LLVM look for vectors in straight lines of code in what this thread compiles; no other thread compiles."""
    with global_compiler_lock:
        # The compiler reads the environment again after a change of it, which would undo ours: it does so now.
        numba.config.reload_config()
        before = numba.config.SLP_VECTORIZE
        numba.config.SLP_VECTORIZE = 1
        try:
            yield
        finally:
            numba.config.SLP_VECTORIZE = before


def inner(function: Callable[..., Any], **options: Any) -> Any:
    """Returns ``function`` for other compiled code to call, not for Python.

    It goes into the machine code, and the cache, of its callers, so it gets none of its own, which saves a third
    of the time to compile. Integer division by zero is not looked for. ``options`` are further ones of numba.njit.
    """
    always = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    dispatcher = numba.njit(**always, **options)(function)
    compiler = dispatcher._compiler
    dispatcher._compiler = _InnerCompiler(
        compiler.py_func, compiler.targetdescr, compiler.targetoptions, compiler.locals, compiler.pipeline_class
    )
    dispatcher.add_overload = lambda result: dispatcher.overloads.update({tuple(result.signature.args): result})
    return dispatcher


def _only_for_linking(library: CPUCodeLibrary) -> None:
    """Leave a library as it is, neither optimised nor compiled: a function that links it has both done for all of it.

    A first convolution takes 2.9 instead of 4.6 CPU seconds to compile so.
    """

    def finish() -> None:
        library._finalize_dynamic_globals()
        library._finalized = True

    library._optimize_final_module = lambda: None
    library._finalize_final_module = finish


class _InnerCompiler(_FunctionCompiler):
    """This compiler stops before it makes machine code; a dummy object stands for the code's address."""

    def _customize_flags(self, flags: Any) -> Any:
        flags.no_compile = True
        return flags

    def _compile_core(self, args: Any, return_type: Any) -> Any:
        result = super()._compile_core(args, return_type)._replace(entry_point=object())
        _only_for_linking(result.library)
        context = self.targetdescr.target_context
        context.insert_user_function(result.entry_point, result.fndesc, [result.library])
        return result


def once(make: Callable[..., T]) -> Callable[..., T]:
    """Return ``make``, which compiles, as a function that does so once for the same arguments and keeps the result.

    `functools.cache` alone would let threads that ask at the same time compile the same code each, and lose what was
    compiled for a call that a signal handler ends.
    """
    made: dict[tuple[Any, ...], T] = {}

    def found_or_made(arguments: tuple[Any, ...]) -> T:
        with global_compiler_lock:
            if arguments not in made:
                made[arguments] = make(*arguments)
            return made[arguments]

    # `functools.cache` in front finds a kept result ten times as fast.
    @cache
    @wraps(make)
    def kept(*arguments: Any) -> T:
        return _compiled(lambda: found_or_made(arguments))

    return kept


def address_of(function: Callable[..., None], *arguments: Any) -> int:
    """Return the address by which compiled code calls ``function``, which is compiled now.

    ``arguments`` are Numba's types of its arguments, each of which is passed as a pointer-sized integer.

    The machine code lives as long as the process. A call through an address costs a few cycles, and spares the caller
    from being compiled again for each function that it may call.
    """
    return _address(function, types.void(*arguments))


def function_address(function: Callable[..., int], *arguments: Any) -> int:
    """Return the same for a function that returns a pointer-sized integer."""
    return _address(function, types.intp(*arguments))


def _address(function: Callable[..., Any], signature: Any) -> int:
    def compiled() -> int:
        function_pointer = CFunc(
            function, (signature.args, signature.return_type), locals={}, options={"error_model": "numpy"}
        )
        _keep_on_disk(function_pointer, function)
        function_pointer.compile()
        _kept.append(function_pointer)
        return int(function_pointer.address)

    return _compiled(compiled)


_kept: list[CFunc] = []


def _keep_on_disk(compiled: Any, function: Callable[..., Any]) -> None:
    """Give a function a cache before it is compiled, if there is a folder to write to and sources to compare."""
    # Numba raises RuntimeError where it finds no folder, OSError where it can't look for one.
    with contextlib.suppress(RuntimeError, OSError):
        compiled._cache = _ForgivingCache(function)


def _compiled(work: Callable[[], T]) -> T:
    """Return ``work()``, which compiles, run so that no signal can leave Numba's lock taken."""
    # A thread that is compiling already, as for a caller's own compiled function, has the lock.
    return work() if global_compiler_lock.is_locked() else shielded(work)


if hasattr(os, "register_at_fork"):
    # A child has no other threads: it must not begin its life while one of them is in the compiler.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )
