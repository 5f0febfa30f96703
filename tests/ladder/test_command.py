"""`fastconv ladder`: what it measures, prints and writes, on a tiny layer."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from fastconv import cpu_limits
from fastconv.__main__ import main
from fastconv.errors import ArgumentValueError
from fastconv.ladder import rung04_loop_order
from fastconv.ladder.backend import GRADIENTS, RUNGS
from fastconv.ladder.command import assembly, layer, measuring, run, table, truth
from fastconv.ladder.command.results import load
from tests import oracle
from tests.forced import how, image

TINY = "N=2 C=4 H=9 K=8 R=3 padding=1"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of a machine that need not be measured."""
    monkeypatch.setattr(cpu_limits, "peak_flops", lambda threads, clock: 1e11 * threads)
    monkeypatch.setattr(cpu_limits, "copy_bandwidth", lambda threads, size: 1e10)


def command(*words: str, out: Path) -> int:
    return main(["ladder", "--layer", TINY, "--seconds", "0", "--out", str(out), *words])


@pytest.mark.long
def test_all_rungs_of_a_tiny_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--threads", "2", out=tmp_path) == 0
    shown = capsys.readouterr().out
    assert "2 x 4 x 9 x 9 to 8 channels by 3x3, padding 1, float32" in shown
    lines = {line.split()[0]: line for line in shown.splitlines() if line[:4].strip() in RUNGS}
    assert list(lines) == list(RUNGS)
    for number, line in lines.items():
        base = measuring.BASES.get(number)
        assert (base is not None and f"of {base}" in line) == (number not in ("01", "11", GRADIENTS))
    assert "in three steps" in shown
    assert "rung 10: its share is of the peak of 2 threads" in shown
    assert "memory's 10 GB/s allow 22.5 GFLOP/s" not in shown  # a share of this layer's own flops a byte, not 2.25
    found = load(tmp_path / run.RESULTS)
    assert [row.number for row in found.rows] == list(RUNGS)
    assert all(row.seconds and row.error is not None and row.error < truth.TOLERANCE for row in found.rows)
    assert [row.threads for row in found.rows] == [2 if number == "10" else 1 for number in RUNGS]
    assert found.limits.peaks == {1: 1e11, 2: 2e11}
    for name in ("bars", "roofline"):
        for ending in ("png", "svg"):
            assert (tmp_path / f"ladder-{name}.{ending}").stat().st_size > 1000


def test_without_matplotlib(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    assert command("--rung", "2", out=tmp_path) == 0
    assert "no pictures: they need matplotlib, pip install 'fastconv[plots]'" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [run.RESULTS]
    assert json.loads((tmp_path / run.RESULTS).read_text())["rows"][0]["number"] == "02"


def test_a_rung_that_cannot_do_the_layer_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ladder", "--layer", f"{TINY} stride=2", "--seconds", "0", "--out", str(tmp_path)]
    assert main([*words, "--rung", "6", "--rung", "9"]) == 0
    shown = capsys.readouterr().out
    assert "strides other than 1 need ladder:09" in shown
    assert "09  the same product" in shown


def test_a_wrong_rung_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = rung04_loop_order.conv2d
    monkeypatch.setattr(rung04_loop_order, "conv2d", lambda *operands: right(*operands) * np.float32(1.001))
    with pytest.raises(ArithmeticError, match=r"rung 04 is wrong by 1\.0e-03"):
        list(measuring.measure(TINY, ["04"], 1, 0))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--layer", "N=8 C=64"], "H, K, R are missing"),
        (["--layer", "N=8 C=64 H=x K=3 R=1"], "H is 'x', but must be a whole number"),
        (["--layer", f"{TINY} N=8"], "N is given twice"),
        (["--layer", f"{TINY} speed=8"], "no field is called 'speed'"),
        (["--layer", "N=0 C=1 H=1 K=1 R=1"], "N is '0', but must be a whole number from 1"),
        (["--layer", "N=1 C=1 H=2 K=1 R=3"], "kernel"),
        (["--layer", f"{TINY} groups=3"], "groups is 3, but must divide C, which is 4"),
        (["--rung", "15"], "the rungs are 01, 02"),
        (["--threads", "0"], "it must be at least 1"),
        (["--asm"], "--rung must name one"),
        (["--asm", "--rung", "7"], "compiled code of its own"),
        (["--asm", "--rung", "12", "--layer", f"{TINY} stride=2"], "it is for 3x3 kernels"),
    ],
    ids=str,
)
def test_mistakes(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ladder", *words]) == 2
    assert why in capsys.readouterr().err


def test_help_names_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["ladder", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"'{layer.DEFAULT}'; also W, S, stride=2x1, dilation, groups" in shown


def test_machine_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ladder", "--layer", TINY, "--rung", "4", "--rung", "2", "--asm"]) == 0
    shown = capsys.readouterr().out
    assert "rung 04: fused multiply-adds by the width of their registers: " in shown
    assert "rung 02: fused multiply-adds by the width of their registers: none" in shown
    found = assembly.code("04", TINY)
    # LLVM prefers 256 bits on some processors that have 512.
    widths = {64: ("zmm", "ymm"), 32: ("ymm",)}.get(run.vector_bytes(), ("v",))
    widest = next(width for width in widths if found.multiply_adds.get(width))
    assert any(widest in line for line in found.loop)


ASSEMBLY = """
\t.text
kernel:
.LBB0_1:
\tvfmadd231ss\t(%rax), %xmm1, %xmm0
\tjne\t.LBB0_1
.LBB0_2:
\tvmovups\t(%rax), %zmm2   # a comment
.LBB0_3:
\tvfmadd231ps\t%zmm2, %zmm1, %zmm0
\tvfmadd231ps\t%ymm2, %ymm1, %ymm0
\tcmpq\t%rax, %rbx
\tjne\t.LBB0_3
\tjmp\t.LBB0_2
"""


def test_the_innermost_loop_is_found_and_counted() -> None:
    found = assembly.read("99", ASSEMBLY)
    assert found.multiply_adds == {"scalar": 1, "ymm": 1, "zmm": 1}
    assert found.loop == [
        "vfmadd231ps %zmm2, %zmm1, %zmm0",
        "vfmadd231ps %ymm2, %ymm1, %ymm0",
        "cmpq %rax, %rbx",
        "jne .LBB0_3",
    ]
    assert next(iter(table.code_lines(found))).endswith("1 scalar, 1 ymm, 1 zmm")


SCALAR = """
.LBB0_1:
\tvmovss\t(%rsi,%rax,4), %xmm2
\tvmulsd\t%xmm0, %xmm2, %xmm2
\tvaddsd\t%xmm2, %xmm1, %xmm1
\tvmulsd\t%xmm0, %xmm3, %xmm3
\tvaddsd\t%xmm3, %xmm1, %xmm1
\tjne\t.LBB0_1
.LBB0_2:
\tvmulss\t(%rsi), %xmm3, %xmm1
\tvaddss\t(%rdi), %xmm1, %xmm0
\tvmulss\t4(%rsi), %xmm3, %xmm1
\tvaddss\t4(%rdi), %xmm1, %xmm0
\tjne\t.LBB0_2
.LBB0_3:
\tvmovss\t(%rsi,%rax,4), %xmm2
\tvmulsd\t%xmm3, %xmm2, %xmm2
\tvaddsd\t%xmm2, %xmm1, %xmm1
\tcmpq\t%rax, %rbx
\tjne\t.LBB0_3
\tvmovss\t(%rdi,%rax,4), %xmm3
\tjmp\t.LBB0_3
"""


def test_of_loops_over_single_numbers_the_one_with_pixels_and_a_single_product_is_shown() -> None:
    """The others read weights alone, for rows outside the image, or take several taps in a turn, which no row has."""
    found = assembly.read("99", SCALAR)
    assert found.loop[0] == "vmovss (%rsi,%rax,4), %xmm2"
    assert found.loop[-2:] == ["vmovss (%rdi,%rax,4), %xmm3", "jmp .LBB0_3"]
    assert len(found.loop) == 7


@pytest.mark.parametrize(
    "g",
    [image(4, 7, 6, 6, 3, 2, N=2, groups=2), image(3, 8, 9, 4, 3, 3, stride=(2, 1), dilation=(1, 2))],
    ids=str,
)
def test_the_right_results_agree_with_torch(g) -> None:
    x, w, b, grad = measuring.operands(g)
    np.testing.assert_allclose(truth.forward(x, w, b, g), oracle.conv2d(x, w, b, how(g)), rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(truth.backward(x, w, grad, g), oracle.conv2d_gradients(x, w, grad, how(g)), strict=False):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_errors_count_wrong_shapes_and_nan() -> None:
    right = np.ones((2, 2))
    assert truth.error(right * 1.5, right) == 0.5
    assert truth.error(right[:1], right) == np.inf
    assert truth.error(np.full((2, 2), np.nan), right) == np.inf


def test_a_small_piece_for_the_slowest_rung() -> None:
    g = layer.parse("N=8 C=64 H=56 K=64 R=3 padding=1 groups=2 stride=2")
    small = layer.piece(g)
    assert (small.N, small.C, small.K, small.H, small.groups) == (1, 4, 4, 14, 1)
    assert layer.piece(small) == small
    (row,) = measuring.measure("N=1 C=8 H=6 K=8 R=3", ["01"], 1, 0)
    assert row.note is not None
    assert "timed on 1 x 4 x 6 x 6 to 4 channels" in row.note
    assert row.flops == layer.parse("N=1 C=8 H=6 K=8 R=3").flops


def test_shapes_of_tiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run, "shapes", lambda: [(1, 8), (2, 4)])
    assert command("--rung", "6", "--tiles", out=tmp_path) == 0
    assert "1 x 8" in capsys.readouterr().out
    assert set(load(tmp_path / run.RESULTS).tiles) == {(1, 8), (2, 4)}
    assert (tmp_path / "ladder-tiles.svg").exists()


def test_a_mistake_is_an_argument_error() -> None:
    for text in ("", "pool=max N=1 C=1 H=4 R=2", "N=8 C=64 H=56 K=64 R=3 dtype=float64"):
        with pytest.raises(ArgumentValueError, match="an example is 'N=8 C=64"):
            layer.parse(text)
