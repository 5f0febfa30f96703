"""Ctrl-C while a command's libraries are loaded: one line, at once, whatever the library makes of an exception."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fastconv.models import cli

ROOT = Path(cli.__file__).parents[2]
INTERRUPTED = """
import signal
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    raise ImportError("some library is missing")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize(
    ("library", "words"),
    [
        ("typer", ["list"]),
        ("torch", ["summary", "lenet5"]),
        ("torch", ["train", "lenet5"]),
        ("torch", ["evaluate", "lenet5"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_in_an_import(tmp_path: Path, library: str, words: list[str]) -> None:
    """A stand-in for the library is interrupted, and hides it."""
    (tmp_path / f"{library}.py").write_text(INTERRUPTED)
    found = os.pathsep.join((str(tmp_path), str(ROOT)))
    ran = subprocess.run(
        [sys.executable, "-m", "fastconv", "models", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": found},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_heeds_ctrl_c,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "stopped\n")


def _heeds_ctrl_c() -> None:
    """As at a terminal: in a shell's background it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
