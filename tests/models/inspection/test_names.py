"""Names of any kind, many classes, and a user's own settings of terminal and matplotlib."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from fastconv.models.inspection.confusion import confusion_picture
from fastconv.models.inspection.evaluation import MOST_ROWS, Evaluation, class_table
from fastconv.models.inspection.output import DOTS_PER_INCH, save_picture
from fastconv.models.screen import escape_what_cannot_be_shown, screen
from tests.models.inspection.conftest import command

ODD = "[cuda13] :smile:"


def test_a_thousand_classes(console: Console) -> None:
    confusion = torch.eye(1000, dtype=torch.int64) * 9
    confusion[777, 777], confusion[777, 3] = 1, 8
    found = Evaluation(tuple(f"class {number}" for number in range(1000)), confusion, 0.5)
    table = class_table(found)
    assert table.row_count == MOST_ROWS
    assert "class 777" in list(table.columns[0].cells)
    assert max(confusion_picture(found, "some").get_size_inches()) * DOTS_PER_INCH < 4000


def test_names_in_brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    found = Evaluation((ODD, "b"), torch.eye(2, dtype=torch.int64), 0.5)
    screen().print(class_table(found))
    screen().print(ODD)
    assert capsys.readouterr().out.count(ODD) == 2


def test_a_users_settings_change_no_picture(tmp_path: Path) -> None:
    found = Evaluation(("a", "b\udcff"), torch.eye(2, dtype=torch.int64), 0.5)
    save_picture(confusion_picture(found, "x\udcff"), Path("plain.png"))
    with mpl.rc_context({"figure.dpi": 30, "savefig.bbox": "tight", "axes.linewidth": 9, "image.cmap": "jet"}):
        save_picture(confusion_picture(found, "x\udcff"), Path("set.png"))
    assert Path("plain.png").read_bytes() == Path("set.png").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="names are bytes on POSIX alone")
def test_names_that_are_not_utf8(run: Path) -> None:
    name = os.fsdecode(b"caf\xe9[1].png")
    Image.fromarray(np.pad(np.full((20, 4), 255, np.uint8), 12)).save("plain.png")
    Path("plain.png").rename(name)
    result = command("predict", str(run), name)
    assert result.exit_code == 0, result.output
    assert "[1].png" in result.output


@pytest.mark.skipif(sys.platform == "win32", reason="names are bytes on POSIX alone")
def test_data_classes_and_runs_that_are_not_utf8() -> None:
    """From the training to the export; a name may hold the end of a line, too."""
    data, run = os.fsdecode(b"d\xe9"), os.fsdecode(b"run\xe9")
    for name in (b"caf\xe9", b"new\nline", ODD.encode()):
        folder = Path(data, os.fsdecode(name))
        folder.mkdir(parents=True)
        for number in range(3):
            Image.fromarray(np.full((28, 28), 80 * number, np.uint8)).save(folder / f"{number}.png")
    picture = str(Path(data, os.fsdecode(b"caf\xe9"), "1.png"))
    for words in (
        ["train", "lenet5", "--backend", "torch", *("--dataset", "images", "--data-dir", data), "--run-dir", run],
        ["train", "--resume", run, "--epochs", "6"],
        ["evaluate", run],
        ["predict", run, picture],
        ["show", "features", run],
        ["show", "curves", run],
        ["export", run, "--onnx"],
        ["pack", run, "--out", os.fsdecode(b"small\xe9")],
    ):
        result = command(*words)
        assert result.exit_code == 0, (words, result.output, result.exception)
    made = {path.name for path in Path(run).iterdir()}
    assert made >= {"confusion.png", "prediction.png", "features.png", "curves.png", "network.onnx"}


def test_a_notebooks_backend_is_no_trouble(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    assert command("show", "filters", str(run)).exit_code == 0
    assert "MPLBACKEND" not in os.environ  # a name that is none would keep matplotlib from being imported


def test_an_encoding_that_lacks_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="ascii"))
    escape_what_cannot_be_shown()
    console = screen()
    console.print("caf\u00e9 \udcff")
    console.print(class_table(Evaluation(("\u00e9", "b"), torch.eye(2, dtype=torch.int64), 0.5)))
    sys.stdout.flush()
    assert content.getvalue().startswith(rb"caf\xe9 \udcff")
