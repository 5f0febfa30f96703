"""``fastconv``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import machine
from fastconv.__main__ import PROGRAMS, main

pytestmark = pytest.mark.usefixtures("own_registry")
ROOT = Path(__file__).parents[1]


def test_info_shows_machine_and_backends(capsys) -> None:
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    for word in ("fastconv", "python", "numba", "instruction set", "cores", "threading layers", "GPU", "auto *"):
        assert word in shown
    for backend in fastconv.backends():
        assert backend.name in shown


@pytest.mark.parametrize("variable", ["FASTCONV_INSTRUCTION_SET", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"])
def test_info_says_what_the_environment_forces(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "generic")
    assert f"{variable}=generic" in machine.instruction_set()


def test_info_says_why_not(capsys, monkeypatch) -> None:
    monkeypatch.setattr(fastconv.registry.get("torch"), "unavailable", lambda: "torch is not installed: do this")
    main(["info"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("torch")]
    assert line.split(maxsplit=2) == ["torch", "unavailable", "torch is not installed: do this"]


def test_warmup_compiles(capsys) -> None:
    assert main(["warmup", "--backend", "naive"]) == 0
    assert capsys.readouterr().out.startswith("naive")
    from numba.core import event

    with event.install_recorder("numba:compile") as compilations, fastconv.use_backend("naive"):
        for dtype in (np.float32, np.float64):
            x, w = np.ones((1, 1, 4, 4), dtype), np.ones((1, 1, 2, 2), dtype)
            fastconv.conv2d_input(x.shape, w, fastconv.conv2d(x, w))
            fastconv.max_pool2d(x, 2)
    assert not compilations.buffer


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_have_their_own_command_line(program: str, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main([program, "--help"])
    assert stop.value.code == 0
    assert f"Usage: fastconv {program}" in capsys.readouterr().out


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_says_what_it_needs(program: str, tmp_path: Path) -> None:
    """As it does where numpy and numba alone are installed."""
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')")
    command = [sys.executable, "-m", "fastconv", program, "list"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=120)
    extra, _ = PROGRAMS[program]
    expected = f"error: {program} needs typer: pip install 'fastconv[{extra}]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


@pytest.mark.parametrize("program", PROGRAMS)
def test_short_names_of_a_checkout(program: str) -> None:
    """Runs ``python -m models`` and ``python -m bench``."""
    command = [sys.executable, "-m", program, "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "numba" in done.stdout


def test_errors(capsys) -> None:
    assert main(["warmup", "--backend", "cudnn"]) == 2
    assert "got 'cudnn', but the backends are" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["compile"])
    assert stop.value.code == 2


@pytest.mark.parametrize("arguments", [["--help"], ["info", "--help"], ["warmup", "--help"]], ids=" ".join)
def test_help(arguments: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert "usage: fastconv" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["-OO"]], ids=["plain", "without_docstrings"])
def test_info_for_any_interpreter_and_encoding(flags: list[str]) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, *flags, "-m", "fastconv", "info"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_info_for_a_reader_that_has_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "fastconv", "info"]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
