"""Helper processes compile kernels ahead, while this process compiles those that it needs first.

A training step of LeNet-5 takes 43 kernels, some 7 s of a core. Numba compiles on one thread at a time, so the other
cores take processes. A helper is told what is being planned, not which kernels that needs: it plans the same, lists the
kernels that the plans ask for and compiles them from the list's end, while this process compiles from its beginning.
The two meet in the folder of compiled kernels, where each claims a kernel before it compiles it (claims.py). Without
such a folder there are no helpers.

helper.py    what runs in a helper
claims.py    which process compiles a kernel
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastconv.threads import get_num_threads

Job = Callable[[], object]
"""A function that can be pickled, and makes plans."""

_MOST = 3
"""Most helpers: to start one costs half a second of a core."""

_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); import {helper}; {helper}.serve()"

_expected: list[Job] = []


@contextmanager
def expected(job: Job) -> Iterator[None]:
    """Let helpers do a job's compiling too, if something has to be compiled inside the block."""
    _expected.append(job)
    try:
        yield
    finally:
        with suppress(ValueError):
            _expected.remove(job)


def begin() -> None:
    """Send helpers what is expected; called when a kernel has to be compiled, which is then kept on disk."""
    while _expected:
        _helpers.send(_expected.pop())


class Helpers:
    """Starts helpers and sends them jobs. They end when nothing comes for a while, or this process ends."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []

    def send(self, job: Job) -> None:
        """Send a job to all helpers, of which there are one less than threads that compute."""
        ended = [each for each in self.running if each.poll() is not None]
        self.running = [each for each in self.running if each not in ended]
        _close(ended)
        with suppress(OSError):  # no more processes
            while len(self.running) < min(get_num_threads() - 1, _MOST) and _is_python():
                self.running.append(_start())
        text = pickle.dumps(job)
        for each in self.running:
            assert each.stdin is not None
            with suppress(OSError):  # it has just ended, or has more to do than the pipe holds
                os.write(each.stdin.fileno(), len(text).to_bytes(8, "little") + text)

    def forget(self) -> None:
        """Let go of the helpers, which belong to another process after a fork, and end with that one."""
        _close(self.running)
        self.running = []


def _close(processes: list[subprocess.Popen[bytes]]) -> None:
    for each in processes:
        assert each.stdin is not None
        each.stdin.close()


def _is_python() -> bool:
    """Return False inside a program that only contains an interpreter: to start it again would start that program."""
    return Path(sys.executable or "").name.lower().startswith(("python", "pypy")) and not hasattr(sys, "frozen")


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _PROGRAM.format(helper=f"{__name__}.helper")]
    # A signal from the terminal, such as that of Ctrl-C, is for this process.
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, bufsize=0, start_new_session=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(sys.path).encode() + b"\n")
    os.set_blocking(process.stdin.fileno(), False)
    try:
        # The system keeps an ended process until its parent asks for its end.
        threading.Thread(target=process.wait, daemon=True).start()
    except RuntimeError:  # no more threads, or the interpreter is about to end
        process.kill()
        process.wait()
    return process


_helpers = Helpers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.forget)
