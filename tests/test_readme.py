"""What the README says is so: its Python runs, its table lists the backends there are."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import fastconv

ROOT = Path(__file__).parent.parent


def _blocks(page: str) -> list[str]:
    return re.findall(r"^ *```python\n(.*?)^ *```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.usefixtures("no_simulated_gpu")
def test_readme_examples_run_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module("tests.torch.graphs.compiling")  # torch.compile knows the backend from then on
    namespace: dict[str, Any] = {}
    blocks = _blocks("README.md")
    assert len(blocks) == 4
    for block in blocks:
        exec(block, namespace)
    shown = capsys.readouterr().out
    assert "[[1. 2. 2. 1.]" in shown
    assert "* winograd" in shown
    differences = {
        line.split()[0]: float(line.split()[1]) for line in shown.splitlines() if "e-" in line or "e+" in line
    }
    assert set(differences) == {backend.name for backend in fastconv.backends() if backend.available}
    assert max(differences.values()) < 1e-3


@pytest.mark.usefixtures("own_registry")
def test_contributed_backend_works() -> None:
    import textwrap

    import numpy as np

    namespace: dict[str, Any] = {}
    (example,) = _blocks("CONTRIBUTING.md")
    exec(textwrap.dedent(example), namespace)
    fastconv.register_backend(namespace["Flipped"]("flipped"))
    x, w = np.random.default_rng(0).standard_normal((2, 3, 2, 5, 5))
    np.testing.assert_allclose(fastconv.conv2d(x, w, backend="flipped"), fastconv.conv2d(x, w), rtol=1e-12)


def test_readme_lists_every_backend() -> None:
    table = (ROOT / "README.md").read_text().partition("## Backends")[2]
    listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert listed == [backend.name for backend in fastconv.backends()]
