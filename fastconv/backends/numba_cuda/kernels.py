"""This file says what a kernel is: its body, its arguments, and how it is compiled, kept on disk and launched.

Arguments are addresses and integers, all of 8 bytes: addresses cost nothing to pass, where an array structure costs
Numba several microseconds each. Machine code is kept on disk, named after everything it depends on, since compiling
takes a second; a file that was damaged counts as none.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from functools import cache, lru_cache, wraps
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

from fastconv.backends.compiler import store
from fastconv.backends.numba_cuda.errors import translated
from fastconv.backends.numba_cuda.target import SIMULATED, cuda, types

Capability = tuple[int, int]

INTEGER = "integer"
"""Marks an argument that is an integer, where a type stands for a pointer to its elements."""

_simulating = threading.RLock()
"""Numba's simulator runs one kernel at a time."""


class Usage(NamedTuple):
    """The registers and memory that a kernel uses, as the assembler reports them."""

    registers: int
    spilled: int
    """Bytes of registers put into memory for want of room."""
    stack: int
    """Bytes of memory for a thread's own arrays."""
    shared: int
    """Bytes of shared memory."""


class Kernel:
    """``takes``: for each argument the type that a pointer points to, a NamedTuple of integers, or `INTEGER`.

    ``resident``: how many blocks a multiprocessor should have room for, which bounds the registers of a thread.
    """

    name: str
    """The kernel's own name: the function that made it, with its arguments."""

    def __init__(self, body: Callable[..., None], threads: int, *takes: Any, resident: int = 1) -> None:
        self.body = body
        self.threads = threads
        self.resident = resident
        self.takes = takes
        self._by_capability: dict[Capability, Any] = {}

    def launch(self, blocks: int, stream: int, *arguments: Any) -> None:
        """Run ``blocks`` blocks on the stream of that handle, of the current device, without waiting for them."""
        if not blocks:
            return
        if SIMULATED:
            with _simulating, np.errstate(all="ignore"):
                cuda.jit(self.body)[blocks, self.threads](*arguments)
            return
        flat: list[int] = []
        for argument in arguments:
            if type(argument) is int:
                flat.append(argument)
            else:
                flat.extend(argument)
        with translated(self.name):
            _launch(_stream(stream), _shape(blocks, self.threads), self._loaded(_current_capability()), *flat)

    def _loaded(self, capability: Capability) -> Any:
        found = self._by_capability.get(capability)
        if found is None:
            found = self._by_capability[capability] = self._load(capability)
        return found

    def _load(self, capability: Capability) -> Any:
        from cuda.core import ObjectCode

        places, file = store.folders(Path(__file__).parent), f"fastconv-{self._digest(capability)}.cubin"
        code = store.read(places, file)
        if code is None:
            ptx = self.ptx(capability)
            code = assembled(ptx, capability)[0]
            code = _entry(ptx).encode() + b"\n" + code
            folder = store.writable(places)
            if folder is not None:
                store.keep(folder, file, code)
        entry, _, machine = code.partition(b"\n")
        return ObjectCode.from_cubin(machine).get_kernel(entry.decode())

    def ptx(self, capability: Capability) -> str:
        """Returns the assembly text for a compute capability; compiling needs no GPU if it was done for it before."""
        signature = types.void(*[_argument(kind) for kind in self.takes])
        bounds = (self.threads, self.resident)
        code, _ = cuda.compile(
            self.body, signature, device=False, abi="numba", cc=capability, opt=True, launch_bounds=bounds
        )
        return code

    def _digest(self, capability: Capability) -> str:
        return hashlib.sha256(repr((self.name, self.threads, self.resident, capability, _stamp())).encode()).hexdigest()


def family(make: Callable[..., Kernel]) -> Callable[..., Kernel]:
    """Decorates a function that makes kernels: each kernel is made once, and gets a name."""

    @cache
    @wraps(make)
    def made(*parameters: Any) -> Kernel:
        kernel = make(*parameters)
        kernel.name = f"{make.__module__.rpartition('.')[2]}.{make.__name__}({', '.join(map(repr, parameters))})"
        return kernel

    return made


def assembled(ptx: str, capability: Capability) -> tuple[bytes, Usage]:
    """Returns machine code for a compute capability, and the registers and memory that it uses."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch="sm_{}{}".format(*capability), ptxas_options=["-v"])
    linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
    code = bytes(linker.link("cubin").code)
    log = linker.get_info_log()

    def figure(pattern: str) -> int:
        return sum(int(number) for number in re.findall(pattern, log))

    return code, Usage(
        figure(r"Used (\d+) registers"),
        figure(r"(\d+) bytes spill stores"),
        figure(r"(\d+) bytes stack frame"),
        sum(map(int, re.findall(r"\.shared [^;\[]*\[(\d+)\]", ptx))),
    )


def _argument(kind: Any) -> Any:
    if kind == INTEGER:
        return types.int64
    if isinstance(kind, type):
        fields = kind._fields  # type: ignore[attr-defined]
        return types.NamedUniTuple(types.int64, len(fields), kind)
    return types.CPointer(kind)


def _entry(ptx: str) -> str:
    found = re.search(r"\.entry\s+([\w$]+)", ptx)
    assert found is not None
    return found[1]


def _launch(stream: Any, shape: Any, kernel: Any, *arguments: int) -> None:
    from cuda.core import launch

    launch(stream, shape, kernel, *arguments)


@lru_cache(maxsize=256)
def _stream(handle: int) -> Any:
    """Returns a stream for launches, given any library's handle; it holds nothing but the handle."""
    from cuda.core import Stream

    return Stream.from_handle(handle)


@lru_cache(maxsize=4096)
def _shape(blocks: int, threads: int) -> Any:
    from cuda.core import LaunchConfig

    return LaunchConfig(grid=blocks, block=threads)


def _current_capability() -> Capability:
    return tuple(cuda.get_current_device().compute_capability)


@cache
def _stamp() -> str:
    """Returns a hash of what machine code depends on besides the kernel: this folder's sources and the compilers."""
    import llvmlite
    import numba_cuda
    from cuda.core import __version__ as core

    stamp = hashlib.sha256(repr((numba.__version__, numba_cuda.__version__, llvmlite.__version__, core)).encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        stamp.update(file.read_bytes())
    return stamp.hexdigest()
