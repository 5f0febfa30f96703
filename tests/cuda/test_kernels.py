"""Machine code that is kept, errors of the driver, and what is said where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import DeviceError, DeviceMemoryError
from fastconv.backends.numba_cuda import direct, kernels
from fastconv.backends.numba_cuda.backend import NumbaCuda
from fastconv.backends.numba_cuda.errors import translated
from fastconv.backends.numba_cuda.storage import FLOAT32, FLOAT64


def test_names_tell_kernels_apart() -> None:
    one, same, other = (direct.correlate(stored, 4, 1, False) for stored in (FLOAT32, FLOAT32, FLOAT64))
    assert one is same
    assert one.name == "direct.correlate(float32, 4, 1, False)"
    assert other.name == "direct.correlate(float64, 4, 1, False)"


def test_kept_code_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "kernel.cubin"
    assert kernels._read(file) is None
    kernels._write(file, b"entry\nmachine code")
    assert kernels._read(file) == b"entry\nmachine code"
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize(
    "damage", [lambda c: c[:20], lambda c: c[:-1], lambda c: c[:40] + b"?" + c[41:], lambda c: b""]
)
def test_damaged_code_counts_as_none(damage, tmp_path: Path) -> None:
    file = tmp_path / "kernel.cubin"
    kernels._write(file, b"entry\nmachine code of some length")
    file.write_bytes(damage(file.read_bytes()))
    assert kernels._read(file) is None


def test_a_folder_that_cannot_be_written_costs_no_error(tmp_path: Path) -> None:
    kernels._write(tmp_path / "missing" / "kernel.cubin", b"code")
    assert list(tmp_path.iterdir()) == []


class DriverError(Exception):
    """As the CUDA packages raise them."""


DriverError.__module__ = "cuda.core._utils.cuda_utils"


def test_errors_of_the_driver_say_in_doing_what() -> None:
    with (
        pytest.raises(DeviceError, match=r"backend 'cuda', packing.pack: CUDA_ERROR_ILLEGAL_ADDRESS"),
        translated("packing.pack"),
    ):
        raise DriverError("CUDA_ERROR_ILLEGAL_ADDRESS")
    with (
        pytest.raises(DeviceMemoryError, match=r"1,000,000 bytes were asked for, making room.*smaller batch"),
        translated("making room for a result", 1_000_000),
    ):
        raise DriverError("CUDA_ERROR_OUT_OF_MEMORY")
    with pytest.raises(ZeroDivisionError), translated("nothing of theirs"):
        _ = 1 / 0
    assert issubclass(DeviceMemoryError, MemoryError)
    assert issubclass(DeviceError, RuntimeError)


def test_without_a_gpu_it_says_so() -> None:
    text = (
        "import fastconv, numpy as np\n"
        "info = {each.name: each for each in fastconv.backends()}['cuda']\n"
        "print(info.available, info.reason)\n"
        "try:\n"
        "    fastconv.conv2d(np.zeros((1, 1, 3, 3)), np.zeros((1, 1, 2, 2)), backend='cuda')\n"
        "except fastconv.BackendUnavailableError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("False the driver finds no NVIDIA GPU")
    assert second.startswith("backend 'cuda' can't run here: the driver finds no NVIDIA GPU")


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    reason = NumbaCuda().unavailable()
    assert reason is not None
    assert "fastconv[cuda12]" in reason
    assert "fastconv[cuda13]" in reason


def test_auto_takes_no_gpu_unasked(ran) -> None:
    fastconv.conv2d(np.zeros((1, 1, 3, 3)), np.zeros((1, 1, 2, 2)))
    assert {name for name, _ in ran} == {"numba"}
