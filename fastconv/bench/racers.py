"""Processes that take turns: each answers the commands of the contest that started it, and waits between them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

from fastconv.bench.process import THREAD_VARIABLES

LAST_CALL = 5.0
"""Seconds that a process has to end by itself; one that is in the middle of a long call is ended then."""


@dataclass
class Racer:
    """A contestant's process, as the contest sees it."""

    name: str
    pipe: Connection

    def ask(self, *command: Any) -> tuple[Any, str | None]:
        """The answer's value, or why there is none."""
        try:
            self.pipe.send(command)
            verdict, value = self.pipe.recv()
        except (EOFError, OSError):
            return None, "its process ended"
        return (value, None) if verdict == "done" else (None, value)


def start(
    name: str,
    serve: Callable[..., None],
    threads: int,
    stack: ExitStack,
) -> Racer:
    """Start a process that runs ``serve(pipe, name, threads)`` and ends with ``stack``."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_uninterrupted, args=(serve, theirs, name, threads), daemon=True)
    with mock.patch.dict(os.environ, dict.fromkeys(THREAD_VARIABLES, str(threads))):
        process.start()
    theirs.close()
    stack.callback(_end, process)
    stack.callback(_stop, ours)
    return Racer(name, ours)


def _uninterrupted(serve: Callable[..., None], *arguments: Any) -> None:
    """Ctrl-C goes to all processes of a terminal; the contest ends the others itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(*arguments)


def _stop(pipe: Connection) -> None:
    with suppress(OSError):  # it may have ended by itself
        pipe.send(("stop",))
    pipe.close()


def _end(process: Any) -> None:
    process.join(LAST_CALL)
    if process.is_alive():
        process.kill()
        process.join()
