"""A data set small enough to train on in a second, IDX files, and a cache and a run folder for each test."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fastconv.models.data import load
from fastconv.models.data.dataset import Dataset
from fastconv.models.data.idx_names import TEST_FILES, TRAIN_FILES

ToIdx = Callable[..., bytes]


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing outside ``tmp_path`` is read or written: no cache, runs or data of the user who runs the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fastconv.models.data.mnist.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("fastconv.models.data.mnist.MIRRORS", ())
    monkeypatch.setenv("NO_PROXY", "*")
    for variable in ("FASTCONV_DATA", "FASTCONV_BACKEND"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def _no_simulated_gpu(no_simulated_gpu: None) -> None:
    """Everywhere here."""


@pytest.fixture
def console() -> Console:
    """Not a terminal; what was printed is ``console.file.getvalue()``."""
    return Console(file=StringIO(), width=100)


@pytest.fixture
def to_idx() -> ToIdx:
    """An array of bytes as the content of an IDX file, or of a false one: the header's parts can be given."""

    def content(array: np.ndarray, zeros: bytes = b"\0\0", type_code: int = 8, shape: tuple[int, ...] = ()) -> bytes:
        sizes = shape or array.shape
        header = zeros + bytes([type_code, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)
        return header + array.astype(np.uint8).tobytes()

    return content


@pytest.fixture
def idx_folder(tmp_path: Path, to_idx: ToIdx) -> Path:
    """A folder of the four files of a data set: 40 and 20 images of 28 x 28, half of the files gzipped."""
    folder = tmp_path / "data"
    folder.mkdir()
    random = np.random.default_rng(0)
    for (images, labels), count in ((TRAIN_FILES, 40), (TEST_FILES, 20)):
        (folder / images).write_bytes(to_idx(random.integers(0, 256, (count, 28, 28))))
        (folder / f"{labels}.gz").write_bytes(gzip.compress(to_idx(np.arange(count) % 10)))
    return folder


@pytest.fixture(scope="session")
def all_digits() -> Dataset:
    """scikit-learn's digits."""
    return load("digits", None, Console(file=StringIO()))


@pytest.fixture
def digits(all_digits: Dataset) -> Dataset:
    """250 of scikit-learn's digits to train on, 100 to test on: of batches of 100 the last is smaller."""
    return replace(
        all_digits,
        train_images=all_digits.train_images[:250],
        train_labels=all_digits.train_labels[:250],
        test_images=all_digits.test_images[:100],
        test_labels=all_digits.test_labels[:100],
    )
