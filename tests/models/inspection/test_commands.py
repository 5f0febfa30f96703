"""The commands: what they print, where they put what they make, and what a mistake costs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from fastconv.models.data.dataset import Dataset
from fastconv.models.inspection.trained import KEPT
from tests.models.inspection.conftest import change, command


def is_png(path: Path) -> bool:
    with Image.open(path) as picture:
        picture.load()
        return picture.format == "PNG" and min(picture.size) > 200


@pytest.fixture
def digit() -> Path:
    """A 1, a pen's on paper."""
    shades = np.full((80, 60), 230, np.uint8)
    shades[10:70, 28:34] = 30
    Image.fromarray(shades).save("one.png")
    return Path("one.png")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("evaluate",), "confusion"),
        (("show", "filters"), "filters"),
        (("show", "features"), "features"),
        (("show", "curves"), "curves"),
        (("predict",), "prediction"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
@pytest.mark.usefixtures("short_digits")
def test_pictures_and_their_places(words: tuple[str, ...], name: str, run: Path, digit: Path) -> None:
    """In the run's folder; for a run that comes along, here; or where --out says."""
    more = [str(digit)] if words == ("predict",) else []
    before = sorted(KEPT.rglob("*"))
    for which, out, expected in (
        (str(run), (), run / f"{name}.png"),
        ("lenet5", (), Path(f"lenet5-{name}{'-digits' if name == 'confusion' else ''}.png")),  # it is of MNIST
        (str(run), ("--out", "new/mine.PNG"), Path("new/mine.PNG")),
    ):
        result = command(*words, which, *more, *out)
        assert result.exit_code == 0, result.output
        assert str(expected) in result.output.replace("\n", "")
        assert is_png(expected)
        assert result.stderr == ""
    assert sorted(KEPT.rglob("*")) == before


def test_other_datas_confusion_has_its_name(run: Path, idx_folder: Path, tmp_path: Path) -> None:
    """And leaves the run's own alone, whose data may have moved."""
    change(run, source={"dataset": "folder", "data_dir": str(idx_folder), "size": None, "channels": None})
    change(run, dataset__name="data")
    own, other = run / "confusion.png", run / "confusion-data.png"
    assert command("evaluate", str(run)).exit_code == 0
    pictures = {"confusion.png": own.read_bytes()}
    moved = tmp_path / "elsewhere" / "data"
    moved.parent.mkdir()
    long = tmp_path / ("\u00e9" * 120)
    for words, name in (
        (["--dataset", "digits"], "confusion-digits.png"),
        (["--data-dir", str(shutil.copytree(idx_folder, moved))], other.name),
        (["--data-dir", str(shutil.copytree(idx_folder, long))], f"confusion-{long.name[:50]}.png"),
    ):
        result = command("evaluate", str(run), *words)
        assert result.exit_code == 0, result.output
        assert name in result.output.replace("\n", "")
        assert is_png(run / name)
        pictures[name] = (run / name).read_bytes()
    assert {path.name: path.read_bytes() for path in run.glob("*.png")} == pictures
    before = own.stat().st_mtime_ns
    for words in ([], ["--data-dir", str(idx_folder)], ["--dataset", "folder"]):
        assert command("evaluate", str(run), *words).exit_code == 0
        assert own.stat().st_mtime_ns != before
        before = own.stat().st_mtime_ns
    assert {path.name for path in run.glob("*.png")} == set(pictures)


def test_evaluate_prints_the_figures(run: Path, short_digits: Dataset) -> None:
    result = command("evaluate", str(run), "--backend", "im2col")
    assert "most often taken for" in result.output
    assert "of 100 right" in result.output
    assert "mean loss" in result.output


def test_predict_with_bad_files(run: Path, digit: Path) -> None:
    Path("bad.png").write_text("no picture")
    result = command("predict", str(run), "bad.png", str(digit), "nowhere.png")
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert first.startswith("error: bad.png: isn't a picture")
    assert second.startswith("error: nowhere.png: no such file")
    assert "one.png" in result.stdout
    assert is_png(run / "prediction.png")
    (run / "prediction.png").unlink()
    assert command("predict", str(run), "bad.png").exit_code == 1
    assert not (run / "prediction.png").exists()


def test_as_is_reaches_the_pictures(run: Path) -> None:
    Image.new("L", (50, 50)).save("blank.png")
    for words in (("predict", str(run), "blank.png"), ("show", "features", str(run), "blank.png")):
        result = command(*words)
        assert result.exit_code != 0
        assert "blank.png: nothing stands out" in result.stderr
        assert command(*words, "--as-is").exit_code == 0


def test_export(run: Path) -> None:
    assert command("export", str(run), "--onnx").exit_code == 0
    assert command("export", "lenet5", "--onnx", "--out", "net.onnx").exit_code == 0
    for path in (run / "network.onnx", Path("net.onnx")):
        assert onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs()


def test_pack(run: Path) -> None:
    result = command("pack", str(run), "--out", "small")
    assert result.exit_code == 0
    assert "weights.safetensors" in result.output
    assert command("show", "curves", "small").exit_code == 0
    assert (Path("small") / "curves.png").exists()


def test_list_has_the_runs() -> None:
    lines = " ".join(command("list").output.split())
    assert "Trained runs that come along" in lines
    assert "simple_convnet │ mnist │ 98." in lines


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["evaluate", "nowhere"], "nowhere: no such folder, and no run that comes along (lenet5, simple_convnet)"),
        (["evaluate", "lenet5", "--dataset", "nist"], "no data set is called 'nist'"),
        (["show", "features", "lenet5", "--dataset", "nist"], "no data set is called 'nist'"),
        (["evaluate", "lenet5", "--backend", "fast"], "no backend is called 'fast'"),
        (["evaluate", "lenet5", "--data-dir", "nowhere"], "nowhere: no such folder"),
        (["show", "filters", "lenet5", "--out", "filters.jpg"], "filters.jpg: the file will be PNG"),
        (["show", "filters", "lenet5", "--out", "file/filters.png"], "file/filters.png: can't be written"),
        (["export", "lenet5"], "--onnx"),
        (["export", "lenet5", "--onnx", "--out", "net.png"], "net.png: the file will be ONNX"),
        (["pack", "lenet5", "--out", "file"], "file: can't hold a run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_cost_one_line(words: list[str], says: str) -> None:
    Path("file").touch()
    result = command(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["file"]


@pytest.mark.parametrize("words", [["evaluate"], ["predict"], ["show"], ["show", "features"], ["export"], ["pack"]])
def test_help(words: list[str]) -> None:
    result = command(*words, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_a_failed_write_leaves_the_old_picture(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("show", "filters", str(run)).exit_code == 0
    before = (run / "filters.png").read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastconv.models.training.run_folder.os.fsync", full)
    result = command("show", "filters", str(run), "--out", str(run / "filters.png"))
    assert "No space left" in result.stderr
    assert (run / "filters.png").read_bytes() == before
    assert not list(run.glob(".*"))
