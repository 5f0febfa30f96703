"""These tests see that functions of arrays are kept on disk where possible; a bad disk costs time, not an error.

The last one is about how it is compiled.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numba
import pytest

from fastconv.backends.jit import straight_line_vectors

JIT = """
from fastconv.backends.jit import jit
from part import part

@jit
def twice(x):
    return part(x) + x

print(twice(21), sum(twice.stats.cache_hits.values()))
"""

PART = """
from fastconv.backends.compiler import inner

@inner
def part(x):
    return x
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a kernel, and with the part of it that stands in another file."""
    (tmp_path / "kernel.py").write_text(JIT)
    (tmp_path / "part.py").write_text(PART)
    return tmp_path


def _run(folder: Path, **environment: str) -> list[str]:
    """Return what the kernel returns, and how many functions came from the cache."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache"), **environment}
    command = [sys.executable, str(folder / "kernel.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_second_process_compiles_nothing(folder: Path) -> None:
    assert _run(folder) == ["42", "0"]
    assert _run(folder) == ["42", "1"]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda content: b"\x80\x05garbage",
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-20],
    "flipped_bit": lambda content: content[:3000] + bytes([content[3000] ^ 16]) + content[3001:],
    "zeroed_page": lambda content: content[:2048] + bytes(2048) + content[4096:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_cache_is_replaced(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    _run(folder)
    (damaged,) = (folder / "cache").rglob("*.nbc")
    damaged.write_bytes(damage(damaged.read_bytes()))
    assert _run(folder) == ["42", "0"]
    assert _run(folder) == ["42", "1"]


def test_no_folder_to_write_to(folder: Path) -> None:
    """A file stands in the folder's place, so no user can write there, not even root."""
    blocked = folder / "blocked"
    blocked.write_text("")
    locators = "UserProvidedCacheLocator"
    result = _run(folder, NUMBA_CACHE_DIR=str(blocked), NUMBA_CACHE_LOCATOR_CLASSES=locators)
    assert result == ["42", "0"]


def test_a_changed_neighbour_is_compiled_anew(folder: Path) -> None:
    _run(folder)
    (folder / "part.py").write_text(PART.replace("return x", "return x + 1000"))
    assert _run(folder) == ["1042", "0"]
    assert _run(folder) == ["1042", "1"]


BOTH = """
import sys, time
from pathlib import Path
from fastconv.backends import jit

@jit.jit
def half(x):
    return x // 2 if isinstance(x, int) else x / 2

if len(sys.argv) > 1:
    # Looks into the cache, and writes to it when the other process has looked too.
    saved = jit._EntryFiles.save
    def save(self, *entry):
        Path(sys.argv[1]).touch()
        while not Path(sys.argv[2]).exists():
            time.sleep(0.01)
        saved(self, *entry)
    jit._EntryFiles.save = save
    half(float(sys.argv[3]) if "." in sys.argv[3] else int(sys.argv[3]))
else:
    print(half(7), half(7.0), sum(half.stats.cache_hits.values()))
"""


def test_processes_that_compile_at_the_same_time_keep_their_code_apart(tmp_path: Path) -> None:
    kernel, one, other = (tmp_path / name for name in ("kernel.py", "one", "other"))
    kernel.write_text(BOTH)
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    flags = ((one, other, "7"), (other, one, "7.0"))
    running = [subprocess.Popen([sys.executable, str(kernel), *map(str, each)], env=env) for each in flags]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    done = subprocess.run([sys.executable, str(kernel)], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.split() == ["3", "3.5", "2"]


def test_code_of_older_sources_is_removed(folder: Path) -> None:
    _run(folder)
    (before,) = (folder / "cache").rglob("*.nbc")
    (folder / "part.py").write_text(PART.replace("return x", "return x + 1000"))
    _run(folder)
    (after,) = (folder / "cache").rglob("*.nbc")
    assert before != after


def test_what_killed_processes_left_is_removed(folder: Path) -> None:
    """Files that another process may be writing at this moment stay."""
    _run(folder)
    (entry,) = (folder / "cache").rglob("*.nbc")
    left, written = (entry.with_name(f"{entry.name}.tmp.{name}") for name in ("left", "written"))
    for file in (left, written):
        file.write_bytes(b"half")
    os.utime(left, (0, 0))
    entry.unlink()
    _run(folder)
    assert set(entry.parent.glob("*.tmp.*")) == {written}


PACKAGED = """
from fastconv.backends.jit import jit
from kernels.below.part import part

@jit
def twice(x):
    return part(x) + x
"""
USE = """
import sys
sys.path.insert(0, {path!r})
from kernels.{module} import twice
print(twice(21), sum(twice.stats.cache_hits.values()))
"""


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("module", ["kernel", "beside.kernel"])
def test_a_changed_file_anywhere_in_the_package_is_compiled_anew(tmp_path: Path, zipped: bool, module: str) -> None:
    """The file may lie in a folder below or beside, or in a zip file, whose sources only its loader reads."""
    source, archive = tmp_path / "source", tmp_path / "kernels.zip"
    files = {
        "__init__.py": "",
        "below/__init__.py": "",
        "beside/__init__.py": "",
        f"{module.replace('.', '/')}.py": PACKAGED,
    }

    def run(part: str) -> list[str]:
        for name, content in {**files, "below/part.py": part}.items():
            file = source / "kernels" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        with zipfile.ZipFile(archive, "w") as made:
            for file in source.rglob("*.py"):
                made.write(file, file.relative_to(source))
        (tmp_path / "kernel.py").write_text(USE.format(path=str(archive if zipped else source), module=module))
        return _run(tmp_path)

    assert run(PART) == ["42", "0"]
    assert run(PART) == ["42", "1"]
    assert run(PART.replace("return x", "return x + 1000")) == ["1042", "0"]


FORK = """
import os, threading
from fastconv.backends import jit

@jit.jit
def slow(x):
    return x + 1

@jit.jit
def new(x):
    return x + 2

inside, go = threading.Event(), threading.Event()
compile_slow = slow._compiler.compile
def held(*arguments):
    inside.set()
    go.wait()
    return compile_slow(*arguments)
slow._compiler.compile = held
other = threading.Thread(target=slow, args=(1,))
other.start()
inside.wait()
threading.Timer(0.2, go.set).start()
child = os.fork()
if child == 0:
    os._exit(new(40))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
other.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_while_another_thread_compiles_can_compile(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(FORK)
    assert _run(tmp_path, PYTHONWARNINGS="ignore") == ["42"]


def test_vectors_of_straight_lines_outlast_a_change_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = numba.config.SLP_VECTORIZE
    monkeypatch.setenv("NUMBA_OPT", "3")
    with straight_line_vectors():
        numba.config.reload_config()  # as the compiler does at its start
        assert numba.config.SLP_VECTORIZE == 1
    assert before == numba.config.SLP_VECTORIZE
