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
from fastconv.backends.numba_cuda.correlation import forward
from fastconv.backends.numba_cuda.errors import translated
from fastconv.backends.numba_cuda.storage import FLOAT32, FLOAT64
from fastconv.geometry import ConvGeometry


def test_names_tell_kernels_apart() -> None:
    one, same, other = (direct.correlate(stored, 4, 1, False) for stored in (FLOAT32, FLOAT32, FLOAT64))
    assert one is same
    assert one.name == "direct.correlate(float32, 4, 1, False)"
    assert other.name == "direct.correlate(float64, 4, 1, False)"


LOADING = """
import cuda.core
from tests.cuda import gate
from fastconv.backends.numba_cuda import sums
from fastconv.backends.numba_cuda.storage import FLOAT32

class Loaded:
    def __init__(self, code):
        self.code = code
    @classmethod
    def from_cubin(cls, code):
        return cls(code)
    def get_kernel(self, entry):
        assert entry.encode() in self.code
        return self.code[:4]

from_ptx = cuda.core.ObjectCode.from_ptx
cuda.core.ObjectCode = Loaded
Loaded.from_ptx = staticmethod(from_ptx)
kernel = sums.channel_sum(FLOAT32)
assert kernel._loaded((8, 0)) == b"\\x7fELF"
kernel.ptx = None  # nothing is compiled again
kernel._by_capability.clear()
assert kernel._loaded((8, 0)) == b"\\x7fELF"
"""


def test_machine_code_is_kept_for_other_processes(tmp_path: Path) -> None:
    """Compiled once for a GPU that isn't there, then found on disk; the driver's part is played."""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", LOADING]
    subprocess.run(command, env=environment, check=True)
    (file,) = tmp_path.iterdir()
    assert file.suffix == ".cubin"
    subprocess.run([*command[:2], LOADING.replace("kernel.ptx = None", "")], env=environment, check=True)
    assert list(tmp_path.iterdir()) == [file]


def test_a_launch_passes_addresses_and_integers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[tuple[object, ...]] = []
    monkeypatch.setattr(kernels, "SIMULATED", False)
    monkeypatch.setattr(kernels, "_launch", lambda *arguments: launched.append(arguments))
    monkeypatch.setattr(kernels, "_stream", lambda handle: f"stream {handle}")
    monkeypatch.setattr(kernels, "_shape", lambda *shape: shape)
    monkeypatch.setattr(kernels, "_current_capability", lambda: (9, 0))
    kernel = direct.correlate(FLOAT32, 4, 1, False)
    monkeypatch.setattr(kernel, "_by_capability", {(9, 0): "machine code"})
    f = forward(ConvGeometry(1, 1, 3, 3, 1, 2, 2, padding=(1, 1, 0, 0)))
    kernel.launch(7, 99, 1000, 2000, 0, 3000, f, 1)
    assert launched == [("stream 99", (7, 128), "machine code", 1000, 2000, 0, 3000, *f, 1)]
    assert all(type(each) is int for each in launched[0][3:])
    assert len(launched[0]) - 3 == len(kernel.takes) - 1 + len(f)
    kernel.launch(0, 99)
    assert len(launched) == 1


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


def test_planes_beyond_32_bits_are_refused() -> None:
    huge = np.broadcast_to(np.float32(0), (1, 1, 2**16, 2**15))
    for call in (
        lambda: fastconv.max_pool2d(huge, 2, backend="cuda"),
        lambda: fastconv.avg_pool2d(huge, 2, backend="cuda"),
    ):
        with pytest.raises(fastconv.UnsupportedError, match=r"a plane has 2,147,483,648 pixels or more"):
            call()
