"""This runs in a helper process, which compiles kernels that another process is going to need.

That process sends jobs through standard input, each with its length in front. To read the end of it is to learn that
the process has ended.
"""

from __future__ import annotations

import gc
import os
import pickle
import queue
import sys
import threading
from contextlib import suppress

from fastconv.backends.compiler import kernels

_PATIENCE = 2.0
"""Seconds after which a helper without work ends."""

Jobs = queue.SimpleQueue[bytes]


def serve() -> None:
    """Compile what jobs need, and end this process when there is nothing to do."""
    gc.disable()  # what Numba makes fits into the memory of some seconds
    jobs: Jobs = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(jobs,), daemon=True).start()
    wanted: list[kernels.Code] = []
    with suppress(queue.Empty):
        while True:
            while not wanted or not jobs.empty():
                wanted += _listed(jobs.get(timeout=_PATIENCE))
            wanted.pop().make_ahead()
    os._exit(0)  # the other thread is reading, which keeps the interpreter from ending


def _receive(jobs: Jobs) -> None:
    while length := sys.stdin.buffer.read(8):
        jobs.put(sys.stdin.buffer.read(int.from_bytes(length, "little")))
    os._exit(0)


def _listed(text: bytes) -> list[kernels.Code]:
    """Return the kernels that a job asks for, in its order."""
    with kernels.listing() as found, suppress(Exception):  # the other process will say what is wrong
        pickle.loads(text)()
    return found
