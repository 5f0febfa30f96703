"""What the README and the pages of docs/ say is so: their code runs, their links lead somewhere, their tables are full.

A block that can't be run here has the line ``<!-- not run: REASON -->`` above it.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import shutil
import struct
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
import fastconv.torch
from fastconv.models.data.idx_names import TEST_FILES, TRAIN_FILES
from tests.blocks import LANGUAGES, PAGES, ROOT, blocks, make_tools, run_shell

REPOSITORY = "https://github.com/fastconv/fastconv/blob/main/"
AFTER_COMMANDS = {"docs/training.md"}
"""Pages whose Python reads what their commands wrote."""


def _with(language: str) -> list[str]:
    return [page for page in PAGES if any(each.language == language and not each.reason for each in blocks(page))]


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what the commands on the pages read: a small data set, photographs, pictures."""
    from PIL import Image

    random = np.random.default_rng(0)
    data = tmp_path / "my" / "mnist"
    data.mkdir(parents=True)
    for (images, labels), count in ((TRAIN_FILES, 120), (TEST_FILES, 40)):
        header = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28)
        (data / images).write_bytes(header + random.integers(0, 256, (count, 28, 28), dtype=np.uint8).tobytes())
        (data / labels).write_bytes(
            struct.pack(">4BI", 0, 0, 8, 1, count) + (np.arange(count) % 10).astype("u1").tobytes()
        )
    for kind in ("cold", "warm"):
        (tmp_path / "my" / "photos" / kind).mkdir(parents=True)
        for number in range(10):
            picture = Image.fromarray(random.integers(0, 256, (40, 30, 3), dtype=np.uint8))
            picture.save(tmp_path / "my" / "photos" / kind / f"{number}.jpg")
    digit = np.full((28, 28), 255, np.uint8)
    digit[4:24, 12:16] = 0
    for name in ("digit.png", "photo.png", "scan.tiff"):
        Image.fromarray(digit).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fastconv.models.data.mnist.MIRRORS", ())
    monkeypatch.setattr("fastconv.models.data.mnist.SHA256", {})  # the small data set stands for MNIST
    monkeypatch.setenv("FASTCONV_DATA", str(data))
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_language(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = list(blocks(page))
    assert 2 * len(found) == len(re.findall(r"^ *```", text, re.MULTILINE))
    assert len([each for each in found if each.reason]) == text.count("<!-- not run")
    assert {each.language for each in found} <= LANGUAGES


@pytest.mark.parametrize("page", sorted({*_with("python")} - AFTER_COMMANDS - {"CONTRIBUTING.md", "README.md"}))
def test_python_runs(page: str) -> None:
    namespace: dict[str, Any] = {}
    for block in blocks(page):
        if block.language == "python" and not block.reason:
            exec(compile(block.code, f"{page}, line {block.line}", "exec"), namespace)


@pytest.mark.usefixtures("no_simulated_gpu")
def test_readme_s_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module("tests.torch.graphs.compiling")  # torch.compile knows the backend from then on
    namespace: dict[str, Any] = {}
    for block in blocks("README.md"):
        if block.language == "python":
            exec(block.code, namespace)
    shown = capsys.readouterr().out
    assert "[[1. 2. 2. 1.]" in shown
    assert "* winograd" in shown
    differences = {
        line.split()[0]: float(line.split()[1]) for line in shown.splitlines() if "e-" in line or "e+" in line
    }
    assert set(differences) == {backend.name for backend in fastconv.backends() if backend.available}
    assert max(differences.values()) < 1e-3


@pytest.mark.long
@pytest.mark.usefixtures("no_simulated_gpu")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", _with("shell"))
def test_commands_run(page: str, inputs: Path) -> None:
    """The commands of a page, in their order and in one folder; and the Python that reads what they wrote."""
    tools = make_tools(inputs / "tools")
    namespace: dict[str, Any] = {}
    for block in blocks(page):
        if block.reason:
            continue
        if block.language == "shell":
            run_shell(block.code, tools)
        elif block.language == "python" and page in AFTER_COMMANDS:
            exec(compile(block.code, f"{page}, line {block.line}", "exec"), namespace)


def test_a_command_that_fails_is_found(tmp_path: Path) -> None:
    tools = make_tools(tmp_path / "tools")
    for code in ("fastconv warmup --backend none", "python -c 'raise SystemExit(3)'", "fastconv info\nfastconv no"):
        with pytest.raises(AssertionError):
            run_shell(code, tools)


@pytest.mark.usefixtures("own_registry")
def test_contributed_backend_works() -> None:
    namespace: dict[str, Any] = {}
    (example,) = [each for each in blocks("CONTRIBUTING.md") if each.language == "python"]
    exec(textwrap.dedent(example.code), namespace)
    fastconv.register_backend(namespace["Flipped"]("flipped"))
    x, w = np.random.default_rng(0).standard_normal((2, 3, 2, 5, 5))
    np.testing.assert_allclose(fastconv.conv2d(x, w, backend="flipped"), fastconv.conv2d(x, w), rtol=1e-12)


def test_every_backend_is_listed() -> None:
    text = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [backend.name for backend in fastconv.backends()]


def test_the_whole_interface_is_described() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    described = re.findall(r"^::: fastconv\.(?:(torch)\.)?[\w.]*?(\w+)$", text, re.MULTILINE)
    assert sorted(name for torch, name in described if not torch) == sorted(fastconv.__all__)
    assert sorted(name for torch, name in described if torch) == sorted({*fastconv.torch.__all__} - {"functional"})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    """On the README they are addresses, since a package index shows it too."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s#]+)", text):
        if target.startswith(REPOSITORY):
            assert (ROOT / target.removeprefix(REPOSITORY)).exists(), target
        elif "://" not in target:
            assert page != "README.md", f"{target} has no address"
            assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs mkdocs: make docs")
def test_the_site_s_links(tmp_path: Path) -> None:
    """A page's links lead to pages of the site, or else to the repository."""
    shutil.copy(ROOT / ".ci" / "site.py", tmp_path / "site_hooks.py")
    found = importlib.util.spec_from_file_location("site_hooks", tmp_path / "site_hooks.py")
    assert found is not None
    assert found.loader is not None
    hooks = importlib.util.module_from_spec(found)
    found.loader.exec_module(hooks)
    text = "[a](b.md#c) [d](../fastconv/e.py) [f](https://x.org/y.md) ![g](h.png) [i](../README.md) "
    text += f"[j]({REPOSITORY}docs/k.md)"
    expected = f"[a](b.md#c) [d]({REPOSITORY}fastconv/e.py) [f](https://x.org/y.md) ![g](h.png) [i](index.md) [j](k.md)"
    assert hooks.site_links(text, "docs") == expected
    assert hooks.site_links("[a](docs/b.md) [c](CONTRIBUTING.md#d)", "") == "[a](b.md) [c](contributing.md#d)"
