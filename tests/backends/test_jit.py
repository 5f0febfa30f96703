"""Compilation: kept on disk where possible; whatever is wrong with the disk costs time, never an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
import sys
from fastconv.backends.jit import jit

@jit
def twice(x):
    return 2 * x

print(twice(21), sum(twice.stats.cache_hits.values()))
"""


def _run(folder: Path, **environment: str) -> list[str]:
    source = folder / "kernel.py"
    if not source.exists():
        source.write_text(MODULE)
    env = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache"), **environment}
    done = subprocess.run([sys.executable, str(source)], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_second_process_compiles_nothing(tmp_path: Path) -> None:
    assert _run(tmp_path) == ["42", "0"]
    assert _run(tmp_path) == ["42", "1"]


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("content", [b"", b"\x80\x05garbage", None], ids=["empty", "garbage", "truncated"])
def test_damaged_cache_is_replaced(tmp_path: Path, suffix: str, content: bytes | None) -> None:
    _run(tmp_path)
    (damaged,) = (tmp_path / "cache").rglob(f"*{suffix}")
    damaged.write_bytes(damaged.read_bytes()[:-20] if content is None else content)
    assert _run(tmp_path) == ["42", "0"]
    assert _run(tmp_path) == ["42", "1"]


def test_no_folder_to_write_to(tmp_path: Path) -> None:
    """A file in the folder's place: nobody can write there, root neither."""
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    locators = "UserProvidedCacheLocator"
    result = _run(tmp_path, NUMBA_CACHE_DIR=str(blocked), NUMBA_CACHE_LOCATOR_CLASSES=locators)
    assert result == ["42", "0"]
