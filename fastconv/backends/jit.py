"""Functions that Python calls with arrays are compiled by Numba, without the interpreter lock, and kept on disk.

They are those that need no call in a microsecond: the definition, and steps for study. Kernels are in compiler/.

A cache that can't be written or read must cost time, never an error: with no writable folder a function is compiled
anew in each process, and an entry that doesn't fit its checksum is compiled again. An entry is out of date when any
file of the function's package has changed, since kernels call one another across files; Numba by itself would look at
one file. Packages in zip files are read through their loader; where there is no source nothing is kept.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import inspect
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.serialize import dumps

from fastconv.backends.compiler.deferred import Deferred
from fastconv.backends.compiler.locks import undisturbed
from fastconv.backends.compiler.object_code import compiler_lock
from fastconv.backends.compiler.store import package_stamp, sources_stamp
from fastconv.interfaces import require

# Methods of Numba's own classes that ours replace or call; Numba's manual describes none of them.
for _owner, _names in (
    (FunctionCache, "load_overload save_overload"),
    (IndexDataCacheFile, "save load _dump _open_for_write _data_path"),
):
    require("numba", "0.68.1", *((_owner, _name) for _name in _names.split()))

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

    Functions among these that are compiled too stand for theirs: what Numba makes of them differs between processes.
    """
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    inside = [_identity(cell.function) if isinstance(cell, Deferred) else _digest(dumps(cell)) for cell in cells]
    return function.__module__, function.__qualname__, _digest(function.__code__.co_code), *inside


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _stamp(function: Callable[..., Any]) -> str | None:
    """Return a hash of the sources that ``function`` may call into, or None where they can't be read."""
    package = getattr(inspect.getmodule(function), "__package__", "")
    if not package:
        return sources_stamp(Path(inspect.getfile(function)).parent, deep=False)
    # A backend's files call one another; those of other backends have no part in it.
    inside = package.removeprefix(f"{__package__}.")
    root = f"{__package__}.{inside.partition('.')[0]}" if inside != package else package.partition(".")[0]
    return package_stamp(root)


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

    dispatcher._compile_for_args = lambda *arguments: undisturbed(lambda: compile_now(*arguments))
    return dispatcher


@contextlib.contextmanager
def straight_line_vectors() -> Iterator[None]:
    """Let LLVM look for vectors in straight lines of code in what this thread compiles; no other thread compiles."""
    with compiler_lock:
        # The compiler reads the environment again after a change of it, which would undo ours: it does so now.
        numba.config.reload_config()
        before = numba.config.SLP_VECTORIZE
        numba.config.SLP_VECTORIZE = 1
        try:
            yield
        finally:
            numba.config.SLP_VECTORIZE = before


def _keep_on_disk(compiled: Any, function: Callable[..., Any]) -> None:
    """Give a function a cache before it is compiled, if there is a folder to write to and sources to compare."""
    # Numba raises RuntimeError where it finds no folder, OSError where it can't look for one.
    with contextlib.suppress(RuntimeError, OSError):
        compiled._cache = _ForgivingCache(function)
