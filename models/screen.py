"""The terminal that commands print on: any name as it is, in any encoding."""

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


def escape_what_cannot_be_shown() -> None:
    """Let both outputs print an escape for each character that their encoding lacks, in place of an error.

    A limited encoding, as of ``LANG=C``, lacks many; every encoding lacks bytes of a file's name that aren't UTF-8.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
