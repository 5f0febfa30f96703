"""The process of one of the processor's contestants."""

from __future__ import annotations

import gc
from multiprocessing.connection import Connection

from fastconv.bench.devices.cpu import Cpu
from fastconv.bench.entrant import Entrant
from fastconv.bench.process import keep_to


def serve(pipe: Connection, name: str, threads: int) -> None:
    """Answer commands, each with ("done", value) or ("trouble", why).

    ("prepare", problem, operation) gives the arrays of the result and how it is come by, ("burst", seconds) a time.
    """
    keep_to(threads)
    entrant = Entrant(name, Cpu(), threads)
    while True:
        command, *arguments = pipe.recv()
        if command == "stop":
            return
        value, why = entrant.ask(command, *arguments)
        if command == "prepare":
            gc.collect()  # not in a burst
        pipe.send(("done", value) if why is None else ("trouble", why))
