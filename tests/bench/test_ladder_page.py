"""The figures of docs/cpu.md are those of the file of results, and one command makes both."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fastconv import cpu_limits
from fastconv.bench.cli import app
from fastconv.bench.report.ladder import LINES, loop, merged, rewrite_page
from fastconv.ladder.backend import RUNGS
from fastconv.ladder.command import layer, run
from fastconv.ladder.command.assembly import Code
from fastconv.ladder.command.measuring import Limits, Row
from fastconv.ladder.command.results import Results, load

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "cpu.md", ROOT / "bench" / "results" / "ladder.json"


def test_the_page_says_what_the_results_say(tmp_path: Path) -> None:
    page = tmp_path / "cpu.md"
    shutil.copyfile(PAGE, page)
    results = load(RESULTS)
    rewrite_page(results, page)
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
    assert [row.number for row in results.rows] == list(RUNGS)


def test_every_rung_has_its_section() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for number, name in RUNGS.items():
        assert f"### {number}: " in text
        assert f"(../fastconv/ladder/{name}.py)" in text
        assert f"<!-- bench:rung-{number} -->" in text
    for link in {part.partition(")")[0] for part in text.split("](")[1:]}:
        assert (PAGE.parent / link).exists(), link


def test_of_several_runs_the_fastest_counts() -> None:
    row = Row("02", "idea", "layer", flops=100, bytes=10, seconds=2.0, error=0.0)
    runs = [
        Results("layer", {}, Limits({1: 10.0}, 5.0), [row], {(1, 8): 3.0}),
        Results("layer", {}, Limits({1: 20.0}, 4.0), [replace(row, seconds=1.0)], {(1, 8): 2.0}),
    ]
    found = merged(runs)
    assert found.rows == [replace(row, seconds=1.0)]
    assert found.limits == Limits({1: 20.0}, 5.0)
    assert found.tiles == {(1, 8): 3.0}


def test_a_long_loop_is_counted_whole_and_shown_in_part() -> None:
    text = loop(Code("06", {"zmm": 40}, ["vfmadd231ps %zmm0, %zmm1, %zmm2"] * 40 + ["jne .L"]))
    assert "41 instructions, of them 40 `vfmadd231ps`, 1 `jne`" in text
    assert text.count("%zmm0") == LINES
    assert f"... and {41 - LINES} more" in text


@pytest.mark.long
def test_one_command_makes_figures_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "DEFAULT", "N=1 C=4 H=9 K=8 R=3 padding=1")
    monkeypatch.setattr(run, "shapes", lambda: [(1, 8)])
    monkeypatch.setattr(cpu_limits, "peak_flops", lambda threads, clock: 1e11 * threads)
    monkeypatch.setattr(cpu_limits, "copy_bandwidth", lambda threads, size: 1e10)
    page, out = tmp_path / "cpu.md", tmp_path / "ladder.json"
    shutil.copyfile(PAGE, page)
    words = ["ladder", "--runs", "1", "--seconds", "0", "--out", str(out), "--page", str(page)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert load(out).layer == layer.DEFAULT
    text = page.read_text(encoding="utf-8")
    assert "peak 100 GFLOP/s on 1" in text
    assert text.count("```asm") == 6
    for name in ("bars", "roofline", "tiles"):
        assert (tmp_path / f"ladder-{name}.svg").exists()
