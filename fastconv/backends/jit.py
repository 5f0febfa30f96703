"""How the library compiles: Numba in nopython mode, without the interpreter lock, kept on disk where possible.

A cache that can't be written or read must cost time, never an error: with no writable folder a function is compiled
anew in each process, and a damaged entry is compiled again. An entry is out of date when any file of the function's
folder has changed, since kernels call one another across files; Numba by itself would look at one file.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.ccallback import CFunc
from numba.core.dispatcher import _FunctionCompiler


class _ForgivingCache(FunctionCache):
    """Numba's cache of compiled functions; whatever is wrong with an entry counts as a miss."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = _folder_stamp(Path(inspect.getfile(function)).parent)
        self._cache_file = _EntryFiles(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unpickling a damaged file may raise anything
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        # A full disk, or a folder that became read-only.
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


class _EntryFiles(IndexDataCacheFile):
    """One file for each entry, named after what it is an entry for.

    Numba numbers the files and keeps the numbers in an index. Two processes that read the index at the same time take
    the same number, and each finds the other's machine code under it ever after.
    """

    def save(self, key: Any, data: Any) -> None:
        self._save_data(self._name(key), data)
        # What was compiled from other sources is of no use any more.
        for file in Path(self._cache_path).glob(f"{glob.escape(self._base)}.*.nbc"):
            if not file.name.startswith(self._prefix):
                file.unlink(missing_ok=True)

    def load(self, key: Any) -> Any:
        try:
            return self._load_data(self._name(key))
        except FileNotFoundError:
            return None

    @property
    def _base(self) -> str:
        return self._index_name.removesuffix(".nbi")

    @property
    def _prefix(self) -> str:
        stamp = hashlib.sha256(f"{self._version} {self._source_stamp}".encode())
        return f"{self._base}.{stamp.hexdigest()[:16]}"

    def _name(self, key: Any) -> str:
        return f"{self._prefix}.{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.nbc"


@cache
def _folder_stamp(folder: Path) -> str:
    """What the sources in ``folder`` say."""
    sources = hashlib.sha256()
    for file in sorted(folder.glob("*.py")):
        sources.update(file.read_bytes())
    return sources.hexdigest()


def jit(function: Callable[..., Any], **options: Any) -> Any:
    """``function`` compiled at its first call for the types it is called with; ``options`` are those of numba.njit."""
    dispatcher = numba.njit(nogil=True, **options)(function)
    # Numba raises RuntimeError where it finds no folder to write to.
    with contextlib.suppress(RuntimeError):
        dispatcher._cache = _ForgivingCache(function)
    return dispatcher


def inner(function: Callable[..., Any]) -> Any:
    """``function`` for other compiled code to call, not for Python.

    It goes into the machine code, and the cache, of whoever calls it, so it gets none of its own, which saves a third
    of the time to compile. Integer division by zero is not looked for.
    """
    options = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    dispatcher = numba.njit(**options)(function)
    compiler = dispatcher._compiler
    dispatcher._compiler = _InnerCompiler(
        compiler.py_func, compiler.targetdescr, compiler.targetoptions, compiler.locals, compiler.pipeline_class
    )
    dispatcher.add_overload = lambda result: dispatcher.overloads.update({tuple(result.signature.args): result})
    return dispatcher


class _InnerCompiler(_FunctionCompiler):
    """Stops before machine code is made; an object of no meaning stands for its address."""

    def _customize_flags(self, flags: Any) -> Any:
        flags.no_compile = True
        return flags

    def _compile_core(self, args: Any, return_type: Any) -> Any:
        result = super()._compile_core(args, return_type)._replace(entry_point=object())
        context = self.targetdescr.target_context
        context.insert_user_function(result.entry_point, result.fndesc, [result.library])
        return result


def address_of(function: Callable[..., None], arguments: int) -> int:
    """``function`` of so many pointer-sized integers, compiled now: the address by which compiled code calls it.

    It lives as long as the process. A call through an address costs a few cycles, and spares the caller from being
    compiled again for each function that it may call.
    """
    compiled = CFunc(function, ((types.intp,) * arguments, types.void), locals={}, options={"error_model": "numpy"})
    with contextlib.suppress(RuntimeError):
        compiled._cache = _ForgivingCache(function)
    compiled.compile()
    _kept.append(compiled)
    return compiled.address


_kept: list[CFunc] = []
