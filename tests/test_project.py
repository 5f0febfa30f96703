"""The project's own files agree: versions, extras, and what the source distribution holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastconv
from fastconv.__main__ import PROGRAMS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINNED = dict(
    line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
)


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _requirements(extra: str) -> set[str]:
    """Returns the names of what an extra installs, those of the extras in it included."""
    found: set[str] = set()
    for each in PROJECT["optional-dependencies"][extra]:
        own = re.fullmatch(r"fastconv\[([\w,]+)\]", each)
        found |= set().union(*map(_requirements, own[1].split(","))) if own else {re.split(r"[\[>=<]", each)[0].lower()}
    return found


def test_the_version_is_the_same_everywhere() -> None:
    assert f"\nversion: {fastconv.__version__}\n" in _text("CITATION.cff")
    assert re.findall(r"^## (\S+)$", _text("CHANGELOG.md"), re.MULTILINE)[0] == fastconv.__version__


def test_pre_commit_has_the_pinned_ruff() -> None:
    assert f"rev: v{PINNED['ruff']}" in _text(".pre-commit-config.yaml")


def test_all_that_is_developed_with_is_pinned() -> None:
    unpinned = {name for name in _requirements("dev") if name not in PINNED}
    assert unpinned == {"numba-cuda"} - PINNED.keys()


def test_programs_name_extras_that_exist() -> None:
    for extra, _ in PROGRAMS.values():
        assert {"torch", "typer", "rich"} <= _requirements(extra)


def test_every_extra_of_the_pages_exists() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "fastconv").rglob("*.py")]
    named = {name for page in pages for name in re.findall(r"fastconv\[(\w+)\]", page.read_text(encoding="utf-8"))}
    assert named <= PROJECT["optional-dependencies"].keys()
    assert {"torch", "train", "bench", "cuda13"} <= named


def test_the_source_distribution_names_files_that_exist() -> None:
    for line in _text("MANIFEST.in").splitlines():
        command, *names = line.split()
        if command in ("graft", "include"):
            assert all((ROOT / name).exists() for name in names), line


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    command = [sys.executable, ".ci/bounds.py", "oldest"]
    words = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    allowed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["torch"]]
    assert words == [each.replace(">=", "==") + ".*" for each in allowed]


def test_python_has_no_upper_bound() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    assert "v >= (3, 11) or" in _text("Makefile")


FAKE_PYTHON = """#!/bin/sh
echo "$@" >> "$LOG"
case "$*" in
    .ci/*) sleep 0.3; echo kernels >> "$LOG"; exit 1;;
    *"[train]") echo packages >> "$LOG"; exit "$STATUS";;
esac
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize("status", [0, 3])
def test_the_demo_compiles_its_kernels_while_pip_works(tmp_path: Path, status: int) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / ".made").touch()
    python, log = tmp_path / "bin" / "python", tmp_path / "log"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    stamp = tmp_path / ".train"
    command = ["make", "--silent", f"VENV={tmp_path}", str(stamp)]
    environment = {**os.environ, "LOG": str(log), "STATUS": str(status)}
    made = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (made.returncode == 0, stamp.exists()) == (status == 0, status == 0), made.stderr
    lines = log.read_text().splitlines()
    # Numba is there before kernels are compiled, and torch is installed meanwhile.
    assert lines[0].endswith("--editable .")
    assert ".ci/demo_kernels.py" in lines
    assert lines.index("packages") < lines.index("kernels")
