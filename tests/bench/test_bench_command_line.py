"""``fastconv bench``: run, list, wrong words; and the suites' own options."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from fastconv.bench.cli import app
from fastconv.bench.devices import cpu_limits
from fastconv.bench.results import Limit, Record, Results, ResultsError, load, save

ROOT = Path(__file__).parents[2]


def _invoke(*arguments: str):
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "160"})


def test_run_writes_a_file_of_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_limits, "measure", lambda threads: Limit(1e9 * threads, {2**20: 1e9}))
    out = tmp_path / "results.json"
    words = ["--problem", "N=1 C=2 H=6 K=2 R=3", "--op", "forward", "--bursts", "2", "--seconds", "0.001"]
    who = ["--contestant", "fastconv.numba:gemm", "--contestant", "torch", "--threads", "1", "--out", str(out)]
    done = _invoke("run", *words, *who)
    assert done.exit_code == 0, done.output
    assert "every contestant ran everything" in done.output
    assert "C2_H6_K2_R3_n1: Convolution" in done.output
    assert re.search(r"contestant +time +GFLOP/s +of limit +over torch +algorithm", done.output)
    assert re.search(r"torch +[\d.]+ µs +[\d.]+ +[\d.]+% +1\.00 +-", done.output)
    assert re.search(r"fastconv\.numba:gemm +[\d.]+ .s .* gemm", done.output)
    results = load(out)
    assert [record.contestant for record in results.records] == ["fastconv.numba:gemm", "torch"]
    assert results.limit.flops == 1e9
    for fact in ("processor", "instruction set", "threads", "contestants", "commit", "date"):
        assert results.environment[fact]
    assert list(tmp_path.iterdir()) == [out]


def test_a_run_that_is_stopped_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hold(*_):
        yield Record("p", [], "conv", "forward", "torch", 1, 1, [0.1])
        raise KeyboardInterrupt

    monkeypatch.setattr(cpu_limits, "measure", lambda threads: Limit(1e9, {2**20: 1e9}))
    monkeypatch.setattr("fastconv.bench.contest.hold", hold)
    out = tmp_path / "results.json"
    done = _invoke("run", "--set", "smoke", "--contestant", "torch", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "stopped after 1 of 16 events; they are kept" in done.output
    assert [record.bursts for record in load(out).records] == [[0.1]]


def test_list() -> None:
    shown = _invoke("list").output
    for word in ("fastconv.im2col", "torch.channels_last", "resnet50", "backward"):
        assert word in shown
    assert "vgg16.3_2_n2" in _invoke("list", "--set", "vgg16").output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--set", "vgg"], "no set is called vgg; the sets are"),
        (["run", "--op", "sideways"], "no operation is called sideways; they are forward"),
        (["run", "--contestant", "cudnn"], "no contestant is called cudnn; here are fastconv.naive"),
        (["run", "--problem", "N=1"], "problem 'N=1': C, H, K, R are missing; N, C, H, K, R are needed"),
        (["run", "--device", "tpu"], "no device is called tpu; they are cpu and cuda"),
        (["run", "--device", "cuda"], "--device cuda: torch finds no NVIDIA GPU here"),
        (["report", "missing.json"], "missing.json: can't be read (No such file or directory)"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_wrong_words_get_one_line(words: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = _invoke(*words)
    assert done.exit_code == 2
    assert f"error: {message}" in done.output or message in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_a_notebooks_backend_a_broken_matplotlibrc_and_brackets_are_no_trouble(small: Results, tmp_path: Path) -> None:
    """Either setting keeps matplotlib from being imported, and rich would take the folder's name for markup."""
    folder = tmp_path / "[cuda13]"
    save(small, folder / "results.json")
    (tmp_path / "matplotlibrc").write_bytes(b"font.family: caf\xe9\n")
    settings = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
    }
    words = ["report", str(folder / "results.json"), "--out", str(folder / "report")]
    command = [sys.executable, "-m", "fastconv", "bench", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **settings}, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert str(folder / "report" / "overview.png") in done.stdout.splitlines()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "limit": {"flops": "x"}}'])
def test_foreign_files_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign.json"
    path.write_text(content)
    with pytest.raises(ResultsError, match=r"foreign\.json: "):
        load(path)


def _suite(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "bench", "-q", "-p", "no:cacheprovider", *arguments]
    # Benchmarks are off wherever pytest-xdist is on, and the variables of its workers say that it is.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=False)


def test_the_suites_choose_verify_and_record(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = ["--problem", "N=1 C=2 H=6 K=2 R=3", "--op", "forward", "--backend", "im2col", "--backend", "torch"]
    done = _suite(*words, "--threads", "1", f"--benchmark-json={out}", "--benchmark-max-time=0.01")
    assert done.returncode == 0, done.stdout
    found = json.loads(out.read_text())["benchmarks"]
    assert [b["extra_info"]["backend"] for b in found] == ["fastconv.im2col", "torch"]
    assert {b["group"] for b in found} == {"C2_H6_K2_R3_n1 forward"}
    for benchmark in found:
        info = benchmark["extra_info"]
        assert info["threads"] == 1
        assert info["flops"] == 2 * 2 * 16 * 2 * 9
        assert info["bytes"] > 0
        assert info["GFLOP/s"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "vgg"], "no set is called vgg"),
        (["--op", "sideways"], "nothing is called sideways"),
        (["--backend", "cudnn"], "none is called fastconv.cudnn"),
    ],
)
def test_the_suites_refuse_wrong_words(words: list[str], message: str) -> None:
    done = _suite("--collect-only", *words)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
