"""The checks of the rungs bite: one fault is planted in the text of each, and must be found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fastconv import registry
from fastconv.ladder.backend import GRADIENTS, RUNGS, Ladder, rung
from tests.forced import image
from tests.ladder import checks

FAULTS = [
    ("01", "if 0 <= i < H", "if 0 < i < H", "forward"),
    ("01", "total += pixel * float(w[k, d, r, s])", "total += pixel * float(w[k, d, r, s]) if pixel else 0", "special"),
    ("02", "y = np.empty(g.output_shape, x.dtype)", "y = np.zeros(g.output_shape, x.dtype); b = 0 * b", "forward"),
    ("03", "top : top + g.H,", "bottom : bottom + g.H,", "forward"),
    ("04", "row[:] = b[k]", "row[:] = 0", "forward"),
    ("05", "line0[2 * dilation[1] :]", "line0[2:]", "forward"),
    ("06", "points = (g.P - 1) * pitch + g.Q", "points = (g.P - 1) * pitch", "forward"),
    ("06", "o // panels * group", "o // panels", "forward"),
    ("07", "start = s * g.dilation[1]", "start = s", "forward"),
    ("08", "for k in range(0, depth, DEPTH)", "for k in range(0, min(depth, DEPTH), DEPTH)", "forward"),
    ("09", "into[i] = line[i * across]", "into[i] = line[i]", "forward"),
    ("09", "p * down + q * across", "(p + q) * across", "forward"),
    ("10", "ends = [g.P * g.Q * i", "ends = [(g.P * g.Q - 1) * i", "forward"),
    ("11", "k // (K // C)", "k % C", "forward"),
    ("12", "(1, 3, -1))", "(1, 3, 1))", "forward"),
    ("12", "if np.isfinite(y.sum())", "if True", "special"),
    ("12", "first + i, 2 * j", "i, 2 * j", "forward"),
    ("13", "max(0, -q)", "max(0, 1 - q)", "gradients"),
    ("13", "sums[:] = 0", "sums[:1] = 0", "gradients"),
    ("14", "if v > best or v != v", "if v > best", "fused"),
    ("14", "(P + 1) // 2", "P // 2", "forward"),
    ("14", "pitch + 2 * q + 1]", "2 * q + 1]", "fused"),
]
"""A rung, what its text says, what it is made to say, and the check that must fail. None makes a rung read or write
beyond its arrays, which could end the process."""


def _planted(number: str, right: str, wrong: str) -> ModuleType:
    """Returns a rung with a fault in its text; its tiles are small, to be compiled quickly."""
    text = Path(rung(number).__file__).read_text(encoding="utf-8")
    assert right in text
    module = ModuleType(f"planted{number}")
    exec(compile(text.replace(right, wrong), "<planted>", "exec"), module.__dict__)
    if hasattr(module, "tile_shape") and number != "10":  # rung 10 has rung 09 do its tiles
        module.tile_shape = lambda dtype: (2, 8)  # type: ignore[attr-defined]
    return module


def _fused(name: str) -> None:
    for g in checks.BLOCKS:
        checks.fused(g, "float32", relu=True)
    checks.fused(image(3, 6, 8, 5, 3, 3), "float32", True, np.nan)


CHECKS: dict[str, Callable[[str], Any]] = {
    "forward": lambda name: [checks.forward(name, case, "float32") for case in checks.cases(name[-2:])],
    "gradients": lambda name: [checks.gradients(name, case, "float32") for case in checks.cases(name[-2:])],
    "special": lambda name: [checks.special_values(name, np.inf, where, "float32") for where in ("input", "weight")],
    "fused": _fused,
}


def _plant(number: str, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a module take the place of a rung's, until the test ends."""
    name = f"ladder:{number}"
    backend = Ladder(name, number)
    backend.rung = module
    monkeypatch.setitem(registry._variants, name, backend)
    monkeypatch.setitem(registry._ready, name, backend)
    monkeypatch.setattr(checks, "rung14_fusing", module)
    if number == GRADIENTS:
        monkeypatch.setattr("fastconv.ladder.backend.rung", lambda _: module)


@pytest.mark.parametrize(("number", "right", "wrong", "check"), FAULTS, ids=str)
def test_fault_is_found(number: str, right: str, wrong: str, check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _plant(number, _planted(number, right, wrong), monkeypatch)
    with pytest.raises(AssertionError):
        CHECKS[check](f"ladder:{number}")


def test_every_rung_has_a_fault() -> None:
    assert {number for number, *_ in FAULTS} == set(RUNGS)


@pytest.mark.parametrize(("number", "check"), sorted({(number, check) for number, _, _, check in FAULTS}), ids=str)
def test_no_fault_no_finding(number: str, check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _plant(number, _planted(number, "Rung", "Rung"), monkeypatch)
    CHECKS[check](f"ladder:{number}")
