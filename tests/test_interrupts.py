"""An interrupt ends a call at once, and what it met is whole afterwards: Numba's import, LLVM's lock, a backend."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fastconv import registry, shield
from tests.test_concurrency import INTERRUPTED

FIRST_CALL = """
import signal, sys, threading, time
import numpy as np, fastconv
from fastconv.backends.compiler import store

store.read_bundled, store.holds_any = lambda *_: None, lambda *_: False
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background ignores it
interrupts = sent = 0
inside = False

def interrupt():
    # The main thread waits for this one: it has to be inside the call, and then to have left it.
    global sent
    while not inside:
        time.sleep(0.001)
    sent += 1
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    while interrupts < sent:
        time.sleep(0.001)

{where}
x = np.ones((1, 1, 4, 4), np.float32)
while True:
    try:
        inside = True
        y = fastconv.conv2d(x, x, backend="numba")
        break
    except KeyboardInterrupt:
        inside = False
        interrupts += 1
print(interrupts, y, "numba" in sys.modules)
"""

IN_IMPORTS = """
waiting = ["numba.core.errors", "numba.core.types", "numba.core.typing.npydecl", "numba.cpython.mathimpl"]

class Finder:
    def find_spec(self, name, *_):
        if name in waiting:
            waiting.remove(name)
            interrupt()

sys.meta_path.insert(0, Finder())
"""

IN_LOCK = """
from llvmlite.binding.ffi import register_lock_callback

def locked():
    if sent < 4:
        interrupt()

register_lock_callback(locked, lambda: None)
"""

needs_signals = pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals of POSIX")


def _run(program: str, kernels: Path, *options: str) -> str:
    """Return what a program prints that finds no kernels on disk."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(kernels)}
    command = [sys.executable, *options, "-c", program]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=200)
    return done.stdout or done.stderr


@needs_signals
@pytest.mark.parametrize("where", [IN_IMPORTS, IN_LOCK], ids=["imports", "lock"])
def test_interrupts_of_a_first_call_leave_the_compiler_whole(where: str, tmp_path: Path) -> None:
    assert _run(FIRST_CALL.format(where=where), tmp_path) == "4 [[[[16.]]]] True\n"


@needs_signals
@pytest.mark.long
def test_interrupts_without_kernels_on_disk_leave_nothing_behind(tmp_path: Path) -> None:
    assert _run(INTERRUPTED, tmp_path, "-W", "error") == "True [None] 2 2 True\n"


def test_works_take_turns_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interrupt comes before the new thread has begun."""
    start, begin, ended, events = _thread.start_new_thread, threading.Event(), threading.Event(), list[str]()

    def interrupted(run: Any, arguments: tuple[()]) -> int:
        def late() -> None:
            begin.wait()
            run()
            ended.set()

        start(late, arguments)
        raise KeyboardInterrupt

    def work(name: str) -> None:
        events.append(f"{name} begins")
        begin.set()
        ended.wait(0.1)  # the other one's end, if it doesn't wait for this one's
        events.append(f"{name} ends")

    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", interrupted)
        with pytest.raises(KeyboardInterrupt):
            shield.shielded(lambda: work("first"))
    shield.shielded(lambda: work("second"))
    assert ended.wait(20)
    assert events == ["second begins", "second ends", "first begins", "first ends"]


def test_a_time_limit_is_no_reason_why_a_backend_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(_: Any) -> None:
        raise TimeoutError

    monkeypatch.delitem(registry._loaded, "naive", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(registry, "shielded", too_late)
        with pytest.raises(TimeoutError):
            registry.get("naive")
    assert registry.get("naive").name == "naive"
