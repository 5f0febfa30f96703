"""docs/ladder.ipynb is made of the rungs' files as they are now, and its cells run."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "ladder.ipynb"


def _cells() -> list[dict[str, Any]]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_the_notebook_is_current() -> None:
    made = runpy.run_path(str(ROOT / ".ci" / "notebook.py"))["notebook"]()
    assert NOTEBOOK.read_text(encoding="utf-8") == made, "make it anew: python .ci/notebook.py"


def test_it_has_the_rungs_texts_and_builds_on_its_own_cells() -> None:
    text = "\n".join("".join(cell["source"]) for cell in _cells())
    for number in range(1, 7):
        assert f"## Rung 0{number}: " in text
    assert "from fastconv.ladder.rung" not in text
    assert "def correlate(x, w, b, y, stride, padding, dilation, groups):" in text
    assert len({cell["id"] for cell in _cells()}) == len(_cells())


@pytest.mark.long
def test_its_cells_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastconv.cpu_limits.peak_flops", lambda threads: 1e12)
    namespace: dict[str, Any] = {}
    for cell in _cells():
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), namespace)
    assert capsys.readouterr().out.count(" GFLOP/s, ") == 6
