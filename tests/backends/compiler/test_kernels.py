"""These tests see that object code is kept on disk where possible, that a bad disk costs time and never an error, and
that a process that finds all its kernels there doesn't import Numba."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from fastconv.backends.compiler import store
from fastconv.backends.compiler.deferred import inner
from fastconv.backends.compiler.kernels import text_of
from fastconv.backends.compiler.processor import levels
from fastconv.backends.numba_cpu.conv.winograd.forms.form import FORMS
from fastconv.backends.numba_cpu.conv.winograd.plan import form_simd
from fastconv.backends.numba_cpu.simd import Simd, instruction_set

KERNEL = """
from fastconv.backends.compiler import Kernel, compiled, integers
from fastconv.backends.compiler.entry import Entry
from fastconv.backends.numba_cpu.simd import load_integer, store_integer
from kernels.below.part import part

@compiled
def multiply(factor):
    def times(place, x):
        store_integer(place, 0, part(x) + (factor - 1) * x)
    return integers(times)

@Entry
def add(arguments):
    return load_integer(arguments, 0) + part(load_integer(arguments, 1))
"""

PART = """
from fastconv.backends.compiler import inner

@inner
def part(x):
    return x
"""

USE = """
import ctypes, sys
sys.path.insert(0, {path!r})
from kernels.{module} import add, multiply
place = ctypes.c_int64()
address = multiply(int(sys.argv[1]))
ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(address)(ctypes.addressof(place), 21)
print(place.value, add.call(40, 2), "numba" in sys.modules)
"""

FROM_DISK = "42 42 False"
COMPILED = "42 42 True"


class Folder:
    """This is a package of kernels, and a program that calls them."""

    def __init__(self, path: Path, module: str = "kernel", *, zipped: bool = False) -> None:
        self.path, self.module, self.zipped = path, module, zipped
        self.write(PART)

    def write(self, part: str) -> None:
        """Write the package, with a part that stands in another file, and the program."""
        names = ["__init__.py", "below/__init__.py", "beside/__init__.py"]
        files = {**dict.fromkeys(names, ""), f"{self.module.replace('.', '/')}.py": KERNEL, "below/part.py": part}
        source, archive = self.path / "source", self.path / "kernels.zip"
        for name, content in files.items():
            file = source / "kernels" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        with zipfile.ZipFile(archive, "w") as made:
            for file in source.rglob("*.py"):
                made.write(file, file.relative_to(source))
        program = USE.format(path=str(archive if self.zipped else source), module=self.module)
        (self.path / "use.py").write_text(program)

    def run(self, factor: int = 2, **environment: str) -> str:
        """Return what the program prints: results, and whether Numba was imported."""
        env = {**os.environ, "NUMBA_CACHE_DIR": str(self.path / "cache"), **environment}
        command = [sys.executable, str(self.path / "use.py"), str(factor)]
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def kept(self) -> list[Path]:
        """Return the files of object code."""
        return sorted((self.path / "cache").rglob("*.o"))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_second_process_compiles_nothing_and_imports_no_numba(folder: Folder) -> None:
    assert folder.run() == COMPILED
    assert len(folder.kept) == 2
    assert folder.run() == FROM_DISK


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda content: b"\x7fELF garbage",
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-20],
    "flipped_bit": lambda content: content[:300] + bytes([content[300] ^ 16]) + content[301:],
    "zeroed": lambda content: content[:128] + bytes(256) + content[384:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_code_is_replaced(folder: Folder, damage: Callable[[bytes], bytes]) -> None:
    folder.run()
    for damaged in folder.kept:
        damaged.write_bytes(damage(damaged.read_bytes()))
    assert folder.run() == COMPILED
    assert folder.run() == FROM_DISK


def test_no_folder_to_write_to(folder: Folder) -> None:
    """A file stands in the folder's place, so no user can write there, not even root."""
    blocked = folder.path / "blocked"
    blocked.write_text("")
    for _ in range(2):
        assert folder.run(NUMBA_CACHE_DIR=str(blocked)) == COMPILED


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("module", ["kernel", "beside.kernel"])
def test_a_changed_file_anywhere_in_the_package_is_compiled_anew(tmp_path: Path, module: str, zipped: bool) -> None:
    """The file may lie in a folder below or beside, or in a zip file; code of the older sources is removed."""
    folder = Folder(tmp_path, module, zipped=zipped)
    folder.run()
    before = folder.kept
    assert folder.run() == FROM_DISK
    folder.write(PART.replace("return x", "return x + 1000"))
    assert folder.run() == "1042 1042 True"
    assert folder.run() == "1042 1042 False"
    assert len(folder.kept) == len(before)
    assert not {*folder.kept} & {*before}


def test_kernels_made_for_other_constants_are_others(folder: Folder) -> None:
    assert [folder.run(factor) for factor in (2, 3, 2, 3)] == [
        COMPILED,
        "63 42 True",
        FROM_DISK,
        "63 42 False",
    ]


def test_another_processor_s_code_is_not_taken(folder: Folder) -> None:
    folder.run()
    assert folder.run(NUMBA_CPU_NAME="generic") == COMPILED
    assert folder.run(NUMBA_CPU_NAME="generic") == FROM_DISK


def test_what_killed_processes_left_is_removed(folder: Folder) -> None:
    """Files that another process may be writing at this moment stay."""
    folder.run()
    entry = folder.kept[0]
    left, written = (entry.with_name(f"{name}.unfinished") for name in ("left", "written"))
    for file in (left, written):
        file.write_bytes(b"half")
    os.utime(left, (0, 0))
    entry.unlink()
    folder.run()
    assert set(entry.parent.glob("*.unfinished")) == {written}


def _made(value: object) -> Callable[[], object]:
    def function() -> object:
        return value

    return function


def test_texts_tell_constants_apart() -> None:
    """A text says all that code may depend on: what is inside dataclasses, and what functions refer to."""
    avx2 = Simd(instruction_set.AVX2, "float32")
    values = [
        *(1, 1.0, True, None, "1", Fraction(1, 3), (1, 2), (1, (2,)), ("1", 2)),
        *(avx2, Simd(instruction_set.AVX2, "float64"), Simd(instruction_set.PORTABLE, "float32")),
        *(form_simd(avx2, form) for form in FORMS),
        *(_made(1), _made(2), inner(_made(3)), inner(_made("3"))),
        *(int, Fraction),
    ]
    texts = [text_of(value) for value in values]
    assert len(set(texts)) == len(texts)
    assert texts == [text_of(value) for value in values], "use must not change them"


def test_a_constant_without_a_full_text_is_refused() -> None:
    with pytest.raises(TypeError, match="object at"):
        text_of((1, object()))


ONCE = """
import signal, sys, threading, time
from fastconv.backends.compiler import compiled, integers
from fastconv.backends.numba_cpu.simd import store_integer

made = []

@compiled
def task(factor):
    made.append(factor)
    time.sleep(0.3)
    def multiply(place, x):
        store_integer(place, 0, factor * x)
    return integers(multiply)

def interrupt(*_):
    raise KeyboardInterrupt
"""

BY_THREADS = """
import threading
from kernels.once import made, task
found = set()
ask = lambda factor: found.add((factor, task(factor)))
threads = [threading.Thread(target=ask, args=(factor,)) for factor in (2, 3) for _ in range(4)]
for each in threads: each.start()
for each in threads: each.join()
print(*sorted(made), len(found))
"""

INTERRUPTED = """
import signal
from kernels.once import interrupt, made, task
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    task(2)
except KeyboardInterrupt:
    print("interrupted")
print(task(2) != 0, *made)
"""

FORKED = """
import os, threading
from kernels import once
def slow(factor):
    once.task(factor)
other = threading.Thread(target=slow, args=(2,))
other.start()
child = os.fork()
if child == 0:
    os._exit(0 if once.task(3) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
other.join()
"""


@pytest.mark.parametrize("kept", [True, False], ids=["kept_on_disk", "not_kept"])
@pytest.mark.parametrize(
    ("program", "printed"),
    [(BY_THREADS, "2 3 2"), (INTERRUPTED, "interrupted True 2"), (FORKED, "0")],
    ids=["threads", "signal", "fork"],
)
def test_code_is_compiled_once(folder: Folder, program: str, printed: str, kept: bool) -> None:
    """It is so for threads that ask at the same time, where a signal ends the first call, and in a forked process."""
    if program is FORKED and not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    (folder.path / "source" / "kernels" / "once.py").write_text(ONCE)
    (folder.path / "use.py").write_text(f"import sys\nsys.path.insert(0, {str(folder.path / 'source')!r})\n{program}")
    environment = {} if kept else {"NUMBA_CACHE_DIR": os.devnull}
    assert " ".join(folder.run(PYTHONWARNINGS="ignore", **environment).split()) == printed


FIRST_RESULT = """
import sys
import numpy as np
import fastconv
from fastconv.backends.compiler import store

store.read_bundled = lambda *_: None
x, w = np.ones((1, 3, 9, 9), "f4"), np.ones((2, 3, 3, 3), "f4")
y = fastconv.conv2d(x, w, padding=1)
fastconv.conv2d_input(x.shape, w, y, padding=1)
fastconv.conv2d_weight(x, w.shape, y, padding=1)
fastconv.max_pool2d(y, 3), fastconv.avg_pool2d(y, 3)
print(y[0, 0, 4, 4], "numba" in sys.modules)
"""


def test_a_first_result_needs_no_numba(tmp_path: Path) -> None:
    """All passes of a layer, and the poolings, run where Numba can't be imported; what isn't on disk is named."""
    (tmp_path / "first.py").write_text(FIRST_RESULT)

    def run() -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "FASTCONV_BACKEND": "numba"}
        command = [sys.executable, str(tmp_path / "first.py")]
        return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=120)

    assert run().stdout.strip() == "27.0 True"
    (tmp_path / "numba.py").write_text("raise ImportError('no Numba here')")
    assert run().stdout.strip() == "27.0 False"
    kept = sorted((tmp_path / "cache").glob("*.convolve_*.o"))
    kept[0].unlink()
    stopped = run()
    assert stopped.returncode == 1
    assert "BackendUnavailableError: the kernel 'convolve' is not on disk" in stopped.stderr
    assert "no Numba here" in stopped.stderr


def test_a_bundle_stands_for_files_on_disk(folder: Folder) -> None:
    """It is looked into for the levels that the processor has; a damaged one counts as none."""
    if not levels():
        pytest.skip("this processor is of no level")
    folder.run()
    bundle = store.bundle(folder.path / "source" / "kernels", levels()[0])
    bundle.parent.mkdir()
    program = "from fastconv.backends.compiler import kernels; print(kernels.sources('kernels'))"
    path = os.pathsep.join([str(folder.path / "source"), *sys.path])
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env)
    with zipfile.ZipFile(bundle, "w") as packed:
        for file in folder.kept:
            packed.writestr(f"{done.stdout.strip()}.{file.name.split('.', 2)[2]}", file.read_bytes()[32:])
    assert folder.run(NUMBA_CACHE_DIR=os.devnull) == FROM_DISK
    assert folder.run(NUMBA_CACHE_DIR=os.devnull, NUMBA_CPU_FEATURES="-avx2,-neon") == COMPILED
    bundle.write_bytes(bundle.read_bytes()[:200])
    assert folder.run(NUMBA_CACHE_DIR=os.devnull) == COMPILED


def test_a_folder_that_can_t_be_written_is_read(folder: Folder) -> None:
    """No user can write to it here, not even root: the check for it fails."""
    folder.run()
    use = folder.path / "use.py"
    blocked = "from fastconv.backends.compiler import store\nstore.writable = lambda places: None\n"
    use.write_text(blocked + use.read_text())
    assert folder.run() == FROM_DISK
    assert folder.run(3) == "63 42 True"
    assert folder.run(3) == "63 42 True"
