"""These tests see that starts are measured by processes, with and without kernels at hand."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from fastconv.bench import starts
from fastconv.bench.cli import app

PROGRAM = """
import os, time
from pathlib import Path
start = time.perf_counter()
from fastconv.backends.compiler import store
folder = Path(os.environ["NUMBA_CACHE_DIR"])
found = (folder / "seen").exists()
if folder.is_dir():
    (folder / "seen").touch()
print(1 if found else 2 if store.read_bundled(folder, (), "name") is None else 3)
"""


def test_each_place_of_kernels_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "PROGRAMS", {"a start": PROGRAM})
    found = {each.found: each.seconds for each in starts.measure(3, 2)}
    assert found["on disk"] == [1.0] * 3
    assert found["nowhere"] == [2.0] * 2


def test_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "PROGRAMS", {"a start": PROGRAM})
    shown = CliRunner().invoke(app, ["starts", "--runs", "1", "--cold", "1"])
    assert shown.exit_code == 0, shown.output
    assert "nowhere" in shown.output
    assert "2.00" in shown.output


@pytest.mark.parametrize("program", starts.PROGRAMS.values(), ids=["conv2d", "training_step"])
def test_programs_run(program: str) -> None:
    assert 0 < starts._seconds(program, {}) < 300
