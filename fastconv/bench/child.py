"""A process of its own for what may bring a process down: a GPU that a kernel has lost is lost to its whole process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any
from unittest import mock

ENVIRONMENT = {"NUMBA_ENABLE_CUDASIM": "0"}
"""On a real GPU, whatever the tests before have set."""


class ChildError(Exception):
    """What was asked for failed, with or without its process; the message says how."""


class Child:
    """Functions called in a process that is started when it is needed, and afresh after each failure."""

    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def ask(self, function: Callable[..., Any], *arguments: Any, patience: float) -> Any:
        """What the function returns, within ``patience`` seconds.

        Raises:
            ChildError: it raised an error, its process died, or it took longer.
        """
        pipe = self._pipe or self._start()
        try:
            pipe.send((function, arguments))
            if not pipe.poll(patience):
                raise ChildError(f"no answer within {patience:g} s")
            done, value = pipe.recv()
        except (EOFError, OSError):
            self.stop()
            raise ChildError("its process died") from None
        except ChildError:
            self.stop()
            raise
        if not done:
            self.stop()
            raise ChildError(value)
        return value

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with mock.patch.dict(os.environ, ENVIRONMENT):
            self._process.start()
        theirs.close()
        return self._pipe


def _serve(pipe: Connection) -> None:
    with suppress(EOFError):  # the parent is gone
        while True:
            function, arguments = pipe.recv()
            try:
                pipe.send((True, function(*arguments)))
            except Exception as error:  # told to the parent, which ends this process
                pipe.send((False, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"))
