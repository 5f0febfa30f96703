"""The registry knows which backends exist, whether each can run here or why not, and which one is chosen.

The first of these that names a backend decides: the ``backend=`` keyword; the innermost ``with use_backend(...)`` of
this thread or task; `set_backend`; the environment's ``FASTCONV_BACKEND``, read when fastconv is imported; ``auto``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from fastconv import known, verbose
from fastconv.backends.base import OPERATIONS, Backend
from fastconv.errors import ArgumentTypeError, BackendUnavailableError, UnknownBackendError
from fastconv.shield import shielded

ENTRY_POINT_GROUP = "fastconv.backends"

_BUILTIN = {
    "auto": "fastconv.backends.auto:Auto",
    "naive": "fastconv.backends.naive:Naive",
    "im2col": "fastconv.backends.im2col:Im2col",
    "numba": "fastconv.backends.numba_cpu.backend:NumbaCpu",
    "cuda": "fastconv.backends.numba_cuda.backend:NumbaCuda",
    "torch": "fastconv.backends.torch:Torch",
    "ladder": "fastconv.ladder.backend:Ladder",
}
"""The module and class of each built-in backend, imported when it is first asked for."""

# No lock guards these tables, since a signal handler that raises could leave one taken: each entry is put in by one
# operation, and where two threads make a backend at the same time both get the first.
_loaded: dict[str, Backend] = {}
_failed: dict[str, str] = {}
"""Why a built-in backend can't be loaded: trying again at each call would take longer than most convolutions."""
_ready: dict[str, Backend] = {}
"""Loaded backends that are known to run here: asking one again may take longer than a small convolution."""
_variants: dict[str, Backend] = {}
"""Backends asked for as "name:option", which the table of backends doesn't list."""
_plugins: dict[str, EntryPoint] | None = None

choice: ContextVar[str | None] = ContextVar("fastconv_backend", default=None)
"""The backend that `use_backend` has chosen here, or None."""
_environment: str | None = os.environ.get("FASTCONV_BACKEND") or None
_default: str = _environment or "auto"


@dataclass(frozen=True)
class BackendInfo:
    """A backend's state on this machine."""

    name: str
    summary: str
    available: bool
    reason: str | None
    """Why the backend is not available and what to do, or None."""
    options: tuple[str, ...] = ()
    """Ways of doing things that ``backend="<name>:<option>"`` forces."""


def backends() -> tuple[BackendInfo, ...]:
    """Returns every known backend with its state here: built in, registered, and installed by entry point.

    A backend whose package fails to load is listed as unavailable, with the error as reason.
    """
    return tuple(_info(name) for name in _known())


def get(name: str) -> Backend:
    """Returns the backend called ``name``, which may be unavailable.

    Raises:
        UnknownBackendError: no backend has this name; the message lists those that exist.
        BackendUnavailableError: its package fails to load.
    """
    backend = _loaded.get(_checked(name))
    return backend if backend is not None else _load(name)


def resolve(name: str | None = None) -> Backend:
    """Returns the backend that a call with ``backend=name`` uses, ready to run.

    Raises:
        UnknownBackendError: no backend has this name.
        BackendUnavailableError: it can't run here; the message says why.
    """
    chosen = get_backend() if name is None else name
    backend = _ready.get(chosen) if isinstance(chosen, str) else None
    if backend is None:
        try:
            backend = get(chosen)
        except UnknownBackendError as error:
            if name is None and chosen == _environment:
                raise UnknownBackendError(f"the environment's FASTCONV_BACKEND names no {error}") from None
            raise
        reason = backend.unavailable()
        if reason is not None:
            raise BackendUnavailableError(f"backend {backend.name!r} can't run here: {reason}")
        _ready[chosen] = backend
    return backend


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Choose a backend for the calls inside a ``with`` block, in this thread or asynchronous task alone.

    A generator is not a task of its own: its choice holds for its caller too while it waits at a ``yield``.

    Args:
        name: one of the names that `backends` lists.

    Raises:
        UnknownBackendError: no backend has this name.
        BackendUnavailableError: it can't run here.
    """
    chosen, before = resolve(_checked(name)).name, choice.get()
    # An interrupt right after the change finds this inside.
    try:
        choice.set(chosen)
        yield
    finally:
        choice.set(before)


def set_backend(name: str) -> None:
    """Choose the process's default backend; the ``backend=`` keyword and `use_backend` beat it.

    Args:
        name: one of the names that `backends` lists; "auto" is the default at the start.

    Raises:
        UnknownBackendError: no backend has this name.
        BackendUnavailableError: it can't run here.
    """
    global _default
    _default = resolve(_checked(name)).name
    known.forget()


def get_backend() -> str:
    """Returns the name of the backend that a call without ``backend=`` uses here and now."""
    return choice.get() or _default


def register_backend(backend: Backend, *, replace: bool = False) -> None:
    """Add a backend under its own ``name``.

    A package can do without this call: an entry point in the group ``fastconv.backends``, naming a subclass of
    `Backend` that is made without arguments, is found by itself.

    Args:
        backend: an instance of a subclass of `fastconv.Backend`, with a ``name`` and a ``summary``.
        replace: whether it may take the place of a backend of the same name.

    Raises:
        TypeError: not an instance of `Backend`, or its name or summary is no string.
        ValueError: the name is empty or taken.
    """
    if not isinstance(backend, Backend):
        raise ArgumentTypeError("backend", repr(backend), "it must be an instance of a subclass of fastconv.Backend")
    name = _checked(getattr(backend, "name", None))
    if not name:
        raise ValueError("backend: its name is empty")
    if not isinstance(getattr(backend, "summary", None), str):
        raise ArgumentTypeError("backend", repr(backend), "it must have a summary, one line on what it is")
    backend = _told(backend)
    if replace:
        _loaded[name] = backend
    elif name in _known() or _loaded.setdefault(name, backend) is not backend:
        raise ValueError(f"backend: a backend is called {name!r} already; pass replace=True to take its place")
    _ready.clear()
    _variants.clear()
    known.forget()


def _checked(name: object) -> str:
    if not isinstance(name, str):
        raise ArgumentTypeError("backend", repr(name), "a backend's name must be a string")
    return name


def _known() -> list[str]:
    return list(dict.fromkeys([*_BUILTIN, *_discovered(), *_loaded]))


def _discovered() -> dict[str, EntryPoint]:
    """Returns the entry points, looked up once: that takes some ten milliseconds."""
    global _plugins
    found = _plugins
    if found is None:
        found = _plugins = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    return found


def _load(name: object) -> Backend:
    name = _checked(name)
    for table in (_loaded, _variants):
        if name in table:
            return table[name]
    base, _, option = name.partition(":")
    if option and base in _known():
        return _variants.setdefault(name, _told(get(base).variant(option)))
    if name in _BUILTIN:
        backend = _built_in(name)
    elif name in _discovered():
        backend = _instance(_discovered()[name])
    else:
        raise UnknownBackendError(f"backend: got {name!r}, but the backends are {', '.join(map(repr, _known()))}")
    return _loaded.setdefault(name, _told(backend))


def _told(backend: Backend) -> Backend:
    """Returns the backend, whose calls tell what they do if FASTCONV_VERBOSE asks for it."""
    if verbose.WANTED and backend.name != "auto":  # which computes nothing by itself
        verbose.tell(backend, OPERATIONS)
    return backend


def _built_in(name: str) -> Backend:
    module, _, cls = _BUILTIN[name].partition(":")

    def made() -> Backend | str:
        try:
            backend: Backend = getattr(importlib.import_module(module), cls)()
        except Exception as error:  # a package that it needs is missing, too old or broken
            return f"backend {name!r} fails to load: {type(error).__name__}: {error}"
        return backend

    if name not in _failed:
        # An interrupted import leaves its lock taken, and Numba half there. The interrupt itself, which may be a time
        # limit's error, is no failure to load.
        found = shielded(made)
        if isinstance(found, Backend):
            return found
        _failed[name] = found
    raise BackendUnavailableError(_failed[name])


def _instance(point: EntryPoint) -> Backend:
    try:
        backend = point.load()()
    except Exception as error:  # third-party code may raise anything; the others must go on working
        raise BackendUnavailableError(
            f"backend {point.name!r} fails to load from {point.value!r}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(backend, Backend):
        raise BackendUnavailableError(f"backend {point.name!r}: {point.value!r} is no subclass of fastconv.Backend")
    backend.name = point.name
    return backend


def _info(name: str) -> BackendInfo:
    try:
        backend = get(name)
    except BackendUnavailableError as error:
        return BackendInfo(name, "", False, str(error))
    try:
        reason = backend.unavailable()
    except Exception as error:  # third-party code may raise anything; the others must be listed
        reason = f"it can't say whether it runs here: {type(error).__name__}: {error}"
    return BackendInfo(name, getattr(backend, "summary", ""), reason is None, reason, getattr(backend, "options", ()))
