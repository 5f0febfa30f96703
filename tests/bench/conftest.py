"""Fixtures: a small run and a report of it, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastconv.bench.report import write_report
from fastconv.bench.results import Results
from tests.bench import synthetic


@pytest.fixture(autouse=True)
def _no_simulated_gpu(no_simulated_gpu: None) -> None:
    """Everywhere here."""


@pytest.fixture(scope="session")
def small() -> Results:
    """Every contestant of `synthetic.SPEEDS` on the smoke set."""
    return synthetic.results()


@pytest.fixture(scope="session")
def written(small: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small run's report."""
    folder = tmp_path_factory.mktemp("report")
    write_report(small, folder)
    return folder
