"""The blocks of code on a page of the README or docs/, and the ways to run them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastconv.__main__ import main

ROOT = Path(__file__).parent.parent
PAGES = [path.relative_to(ROOT).as_posix() for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])]
LANGUAGES = {"asm", "dockerfile", "python", "shell", "text", "toml"}

_BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- not run: (?P<reason>.+?) -->\n *)?```(?P<language>\w*)\n(?P<code>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
_SUBPROCESS_SECONDS = 300


@dataclass(frozen=True)
class Block:
    """A block of a page: its language, its code, the line it begins on, and why it isn't run, if it isn't."""

    language: str
    code: str
    line: int
    reason: str | None


def blocks(page: str) -> Iterator[Block]:
    """Yields the blocks of a page in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(found["language"], textwrap.dedent(found["code"]), line, found["reason"])


def run_shell(code: str, tools: Path) -> None:
    """Runs the lines of a shell block in the working folder; fastconv's own commands run in this process.

    Raises:
        AssertionError: a command ended with another status than 0; the message has the command.
    """
    if "<<" in code:
        _in_bash(code, tools)
        return
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["fastconv"]:
            try:
                status: Any = main(words[1:])
            except SystemExit as end:
                status = end.code
            assert not status, f"{line} ended with status {status}"
        elif words:
            _in_bash(line, tools)


def make_tools(folder: Path) -> Path:
    """Makes a folder with the programs that an installation has on its PATH, for the sources of this checkout."""
    folder.mkdir()
    for name, module in {"fastconv": "-m fastconv", "python": "", "torchrun": "-m torch.distributed.run"}.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def _in_bash(code: str, tools: Path) -> None:
    paths = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-euc", code],
        capture_output=True,
        text=True,
        env={**os.environ, **paths},
        check=False,
        timeout=_SUBPROCESS_SECONDS,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
