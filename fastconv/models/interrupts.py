"""Ctrl-C while a command still loads its libraries: the process ends at once, with one line."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

COMMANDS = ("__main__", "fastconv.__main__", "fastconv.models.cli", "fastconv.models.inspection.commands")
"""The modules that hold the commands, which import what they need when they are called."""


def end_while_loading() -> None:
    """Let Ctrl-C end the process at once while a command loads its libraries, and be a KeyboardInterrupt later.

    An exception inside an import may be taken for a missing library: NumPy's import, interrupted, called itself for
    25 s and ended with a RecursionError. There is nothing to tidy up yet. A process that ignores Ctrl-C, as in a
    shell's background, still does.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)


def _interrupted(number: int, frame: FrameType | None) -> None:
    if _loading(frame):
        print("stopped", file=sys.stderr, flush=True)
        os._exit(128 + number)
    signal.default_int_handler(number, frame)


def _loading(frame: FrameType | None) -> bool:
    """Whether the outermost import under way is a command's own."""
    importer = None
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib."):
            importer = frame.f_back
        frame = frame.f_back
    return importer is not None and importer.f_globals.get("__name__") in COMMANDS
