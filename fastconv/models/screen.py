"""The process of a command: it prints any name as it is, in any encoding, and draws pictures without a display."""

from __future__ import annotations

import io
import os
import sys

from rich.console import Console

_WIDE = 240
"""Columns if the output is no terminal: a table of 80 would lose figures."""


def screen(quiet: bool = False) -> Console:
    """Returns a console that prints brackets and colons as they are: they belong to names and are not markup."""
    console = Console(markup=False, emoji=False, quiet=quiet)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console


def prepare_process() -> None:
    """Makes this process, a command's own, independent of the terminal and of the user's settings of matplotlib.

    A notebook sets MPLBACKEND for all its programs, to a module that other environments lack: then matplotlib can't be
    imported. A user's matplotlibrc that can't be read has the same effect. Commands write files and open no window.
    """
    escape_what_cannot_be_shown()
    os.environ.pop("MPLBACKEND", None)
    os.environ["MATPLOTLIBRC"] = os.devnull


def escape_what_cannot_be_shown() -> None:
    """Let both outputs print an escape for each character that their encoding lacks, in place of an error.

    A limited encoding, as of ``LANG=C``, lacks many; every encoding lacks bytes of a file's name that aren't UTF-8.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
