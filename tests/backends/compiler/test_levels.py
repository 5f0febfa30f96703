"""These tests see that code is made for each level that bundles have, of this machine's architecture and of another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastconv.backends.compiler import kernels, processor, store
from fastconv.backends.numba_cpu.simd import instruction_set


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system call this machine an arm64, where LLVM finds no features."""
    monkeypatch.setattr(processor.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(processor.llvm, "get_host_cpu_features", dict)
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", instruction_set.VARIABLE):
        monkeypatch.delenv(name, raising=False)


def test_every_arm64_has_neon(arm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert instruction_set.chosen() is instruction_set.NEON
    assert processor.levels.__wrapped__() == ("armv8-a",)
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    assert instruction_set.chosen() is instruction_set.NEON


def test_vectors_may_be_turned_off_there(arm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "-neon")
    assert instruction_set.chosen() is instruction_set.PORTABLE
    assert processor.levels.__wrapped__() == ()


def test_a_level_is_of_one_architecture(arm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CPU_FEATURES", ",".join(f"+{name}" for name in processor.LEVELS["x86-64-v4"].features))
    assert processor.levels.__wrapped__() == ("armv8-a",)


def test_a_bundle_is_for_one_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows passes arguments in other registers: code from Linux would crash there."""
    places = set()
    for name in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", name)
        places.add(store.bundle(Path("package"), "x86-64-v3").name)
    assert len(places) == 3


EMITTED = """
import sys
from fastconv.backends.numba_cpu.simd import instruction_set
from fastconv.bundle import common_kernels
codes = {code.name.rpartition("_")[0]: code for code in common_kernels(sys.argv[1])}
print(instruction_set.chosen().name, len(codes))
for name in sys.argv[2:]:
    print(codes[name].emit().hex())
"""

MACHINES = {"x86-64": 62, "arm64": 183}
"""The architectures' numbers in an ELF header."""

FMLA, ISB, MRS_FPCR, MSR_FPCR = 0x0E20CC00, 0xD5033FDF, 0xD53B4400, 0xD51B4400
"""Instructions of arm64: a multiply-add of vectors, a pause, and what reads and writes the floating-point mode."""


def _emitted(level: str, *names: str) -> tuple[str, list[bytes]]:
    """Return the instruction set of a level, and the code of some of its kernels, made in a process of its own."""
    env = {name: value for name, value in os.environ.items() if name != instruction_set.VARIABLE}
    command = [sys.executable, "-c", EMITTED, level, *names]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    first, *codes = done.stdout.splitlines()
    return first.split()[0], [bytes.fromhex(code) for code in codes]


@pytest.mark.skipif(sys.platform != "linux", reason="the header is one of ELF files")
@pytest.mark.parametrize(
    ("level", "name"), [("x86-64-v4", "avx512"), ("x86-64-v3", "avx2"), ("armv8-a", "neon")], ids=lambda name: name
)
def test_a_level_s_code_is_for_its_architecture(level: str, name: str) -> None:
    found, codes = _emitted(level, "held", "help_along", "packed")
    assert found == name
    for code in codes:
        assert code[:4] == b"\x7fELF"
        assert int.from_bytes(code[18:20], "little") == MACHINES[processor.LEVELS[level].architecture]


def test_arm64_has_its_own_pause_and_floating_point_mode() -> None:
    """The loop of a helper has them, and a product is made of multiply-adds of four numbers."""
    _, (helper, caller, product) = _emitted("armv8-a", "help_along", "run_jobs", "packed")
    assert _has(helper, ISB)
    assert _has(helper, MSR_FPCR, 0xFFFFFFE0)
    assert _has(caller, MRS_FPCR, 0xFFFFFFE0)
    assert _has(product, FMLA | 1 << 30, 0xFFA0FC00)


def _has(code: bytes, instruction: int, mask: int = 0xFFFFFFFF) -> bool:
    words = [int.from_bytes(code[at : at + 4], "little") for at in range(0, len(code) - 3, 4)]
    return any(word & mask == instruction & mask for word in words)


@pytest.mark.long
def test_a_bundle_has_all_that_warm_up_asks_for(tmp_path: Path) -> None:
    """Kernels are listed when nothing runs, and a run must ask for no others."""
    package = "fastconv.backends.numba_cpu"
    if not store.holds_any(kernels.folder_of(package), processor.levels()[:1], kernels.sources(package)):
        pytest.skip("there is no bundle for this processor: make package makes one")
    (tmp_path / "numba.py").write_text("raise ImportError('no Numba here')")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from fastconv import registry; registry.get('numba').warmup()"
    )
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "nothing")}
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
