"""Every rung of the CPU's ladder on the table of cases that every backend is proved on."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import registry
from fastconv.errors import BackendUnavailableError, UnknownBackendError, UnsupportedError
from fastconv.ladder import backend as ladder
from fastconv.ladder import rung06_registers
from fastconv.ladder.backend import GRADIENTS, RUNGS
from tests import oracle
from tests.cases import CONVOLUTIONS, named
from tests.conftest import spy
from tests.forced import how, image
from tests.ladder import checks
from tests.tolerance import assert_equal

DONE = {
    "05": 8,
    "06": 30,
    "11": 6,
    "12": 8,
    "14": 30,
}
"""How many of its cases a rung does at least; those that aren't here do all of them."""


@pytest.mark.parametrize("number", checks.FORWARD)
def test_forward(number: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, record = f"ladder:{number}", []
    spy(registry.get(name), record, monkeypatch)
    done = [case for case in checks.cases(number) if checks.forward(name, case, dtype)]
    assert record == [(name, "conv2d")] * len(done), "another backend did some of it"
    assert len(done) >= DONE.get(number, len(checks.cases(number)))


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=named)
def test_gradients(case, dtype: str) -> None:
    assert checks.gradients(f"ladder:{GRADIENTS}", case, dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["input", "weight", "grad"])
@pytest.mark.parametrize("number", RUNGS)
def test_nan_and_infinities_travel_as_in_torch(number: str, where: str, value: float) -> None:
    if where != "grad" or number == GRADIENTS:
        checks.special_values(f"ladder:{number}", value, where, "float32")


@pytest.mark.parametrize("g", checks.BLOCKS, ids=str)
def test_convolution_relu_and_pooling_in_one_pass(g, dtype: str) -> None:
    for relu in (True, False):
        checks.fused(g, dtype, relu)
    checks.fused(g, dtype, True, np.nan)
    checks.fused(g, dtype, False, -np.inf)


@pytest.mark.parametrize("shape", [(1, 16), (2, 8), (3, 4), (8, 32)], ids=str)
def test_tiles_of_any_shape(shape: tuple[int, int]) -> None:
    g = image(3, 7, 9, 13, 3, 3, N=2)
    x, w, b = (checks.numbers(s, "float32", 6) for s in (g.input_shape, g.weight_shape, (g.K,)))
    assert_equal(rung06_registers.conv2d(x, w, b, g, shape), oracle.conv2d(x, w, b, how(g)))


@pytest.mark.parametrize("number", [each for each in checks.FORWARD if each != checks.INTERPRETED])
def test_other_layouts_and_read_only_operands(number: str) -> None:
    x, w = checks.numbers((9, 8, 4, 2), "float32", 7).T, checks.numbers((4, 4, 3, 3), "float32", 8)[:, ::-1]
    if number == "11":
        w = w[:, :1]
    how = {"padding": 1, "groups": 4 if number == "11" else 1}
    x.flags.writeable = w.flags.writeable = False
    assert_equal(fastconv.conv2d(x, w, **how, backend=f"ladder:{number}"), oracle.conv2d(x, w, None, how))


def test_the_same_bits_for_any_number_of_threads() -> None:
    x, w = checks.numbers((3, 5, 11, 9), "float32", 7), checks.numbers((9, 5, 3, 3), "float32", 8)
    before = fastconv.get_num_threads()
    try:
        results = set()
        for threads in (1, 2, 3, 8):
            fastconv.set_num_threads(threads)
            results.add(fastconv.conv2d(x, w, padding=1, backend="ladder:10").tobytes())
        results.add(fastconv.conv2d(x, w, padding=1, backend="ladder:09").tobytes())
    finally:
        fastconv.set_num_threads(before)
    assert len(results) == 1


def test_a_rung_must_be_named() -> None:
    (info,) = [info for info in fastconv.backends() if info.name == "ladder"]
    assert info.options == tuple(RUNGS)
    x = np.ones((1, 1, 3, 3))
    with pytest.raises(BackendUnavailableError, match="name it, as ladder:06; `fastconv ladder`"):
        fastconv.conv2d(x, x, backend="ladder")
    with pytest.raises(UnknownBackendError, match=r"its rungs are 01, 02, .*, and '15' is none"):
        fastconv.conv2d(x, x, backend="ladder:15")


def test_a_rung_explains_itself() -> None:
    shown = str(fastconv.explain((1, 2, 5, 5), (3, 2, 3, 3), backend="ladder:06"))
    assert "rung 06, a tile of sums in registers: fastconv/ladder/rung06_registers.py" in shown


def test_what_no_rung_does_is_refused() -> None:
    x = np.ones((4, 4, 4, 4))
    for number in ("02", GRADIENTS):
        with pytest.raises(UnsupportedError, match="the ladder is about convolutions; backend='numba' does all else"):
            fastconv.max_pool2d(x, 2, backend=f"ladder:{number}")
    with pytest.raises(UnsupportedError, match="gradients are those of ladder:13"):
        fastconv.conv2d_backward(x[..., :1, :1], x, x, backend="ladder:09")
    with pytest.raises(UnsupportedError, match="gradients are those of ladder:13, which has nothing else"):
        fastconv.conv2d(x, x, backend="ladder:13")
    with pytest.raises(UnsupportedError, match="can't do avg_pool2d"):
        registry.get("ladder:02").avg_pool2d(x, None)


def test_each_rung_is_one_file_to_be_read() -> None:
    for number in RUNGS:
        module = ladder.rung(number)
        assert module.IDEA
        lines = (module.__doc__ or "").splitlines()
        assert lines[0].startswith(f"Rung {number}: ")
        assert any(line.startswith("Exercise: ") for line in lines)
        text = Path(module.__file__).read_text(encoding="utf-8")
        tree = ast.parse(text).body
        apart = [node for node in tree if isinstance(node, ast.Import | ast.ImportFrom)] + tree[:1]
        blank = sum(not line.strip() for line in text.splitlines()[tree[0].end_lineno :])
        told = sum((node.end_lineno or 0) - node.lineno + 1 for node in apart)
        assert 10 <= len(text.splitlines()) - told - blank <= 80, "lines of code"
