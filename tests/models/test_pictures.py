"""Pictures of one's own: which files there are of which class, and what becomes of each kind of picture."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from fastconv.models.cli import app
from fastconv.models.data import load
from fastconv.models.data.class_folders import find_pictures
from fastconv.models.data.form import Form
from fastconv.models.data.pictures import read_pictures
from fastconv.models.errors import ModelsError

Paint = Callable[..., Path]

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 8), np.uint8)
COLOURS = RANDOM.integers(0, 256, (6, 8, 3), np.uint8)
DEEP = RANDOM.integers(0, 65536, (6, 8), np.uint16)


@pytest.fixture
def paint(tmp_path: Path) -> Paint:
    """Saves pixels as a picture of a name and gives its path; the folders above it are made."""

    def painted(name: str, pixels: np.ndarray = GREY, mode: str | None = None, **how: Any) -> Path:
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels)
        (image if mode is None else image.convert(mode)).save(path, **how)
        return path

    return painted


@pytest.fixture
def read(console: Console) -> Callable[..., np.ndarray]:
    return lambda *paths, form=Form(): read_pictures(paths, form, console)  # noqa: B008, it is frozen


def shades(pixels: np.ndarray) -> np.ndarray:
    """Of colours, by ITU-R BT.601."""
    return np.asarray(pixels @ np.array([0.299, 0.587, 0.114]))


def channels_first(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(2, 0, 1)


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tiff", "webp", "ppm"])
def test_grey_pictures_are_their_bytes(paint: Paint, read: Any, suffix: str) -> None:
    how = {"lossless": True} if suffix == "webp" else {}
    images = read(paint(f"one.{suffix}", **how), paint(f"other.{suffix}", 255 - GREY, **how))
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, [GREY, 255 - GREY])


def test_colours_come_channels_first_and_one_makes_all_coloured(paint: Paint, read: Any) -> None:
    images = read(paint("a.png"), paint("b.png", COLOURS))
    np.testing.assert_array_equal(images, [np.stack([GREY] * 3), channels_first(COLOURS)])


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "LA"])
def test_grey_is_what_has_no_colours_whatever_it_is_saved_as(paint: Paint, read: Any, mode: str) -> None:
    np.testing.assert_array_equal(read(paint("a.png", mode=mode)), [GREY])


def test_one_bit_is_black_and_white(paint: Paint, read: Any) -> None:
    np.testing.assert_array_equal(read(paint("a.png", GREY // 128 * 255, mode="1")), [GREY // 128 * 255])


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_rounded_to_eight(paint: Paint, read: Any, suffix: str) -> None:
    np.testing.assert_allclose(read(paint(f"a.{suffix}", DEEP))[0], DEEP / 257, atol=0.5)


def test_grey_on_demand(paint: Paint, read: Any) -> None:
    np.testing.assert_allclose(read(paint("a.png", COLOURS), form=Form(None, 1))[0], shades(COLOURS), atol=1)


def test_what_is_transparent_lies_on_white(paint: Paint, read: Any) -> None:
    """Also where a palette has one transparent colour."""
    alpha = np.zeros((6, 8, 1), np.uint8)
    alpha[:3] = 255
    (image,) = read(paint("a.png", np.concatenate([COLOURS, alpha], axis=2)))
    np.testing.assert_array_equal(image[:, :3], channels_first(COLOURS)[:, :3])
    assert (image[:, 3:] == 255).all()
    path = paint("b.gif", GREY // 128 * 128, transparency=0)
    with Image.open(path) as saved:
        assert "transparency" in saved.info
    np.testing.assert_array_equal(read(path)[0], np.where(GREY < 128, 255, 128))


def test_photographs_stand_upright(paint: Paint, read: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned left
    np.testing.assert_array_equal(read(paint("a.png", exif=exif)), [np.rot90(GREY, -1)])


def test_the_first_frame_counts(paint: Paint, read: Any) -> None:
    path = paint("a.gif", save_all=True, append_images=[Image.fromarray(255 - GREY)])
    np.testing.assert_array_equal(read(path), [GREY])


def test_a_size_takes_the_middle_square_and_keeps_its_proportions(paint: Paint, read: Any) -> None:
    wide, tall = np.zeros((10, 30), np.uint8), np.zeros((40, 20), np.uint8)
    wide[:, 10:20] = 200
    tall[10:30] = 200
    images = read(paint("wide.png", wide), paint("tall.png", tall), form=Form(10))
    assert images.shape == (2, 10, 10)
    assert (images == 200).all()


def test_without_a_size_all_must_be_alike(paint: Paint, read: Any) -> None:
    first, second = paint("a.png"), paint("b.png", GREY.T)
    with pytest.raises(ModelsError, match=r"b\.png: has 8 x 6 pixels where a\.png has 6 x 8; --size 64"):
        read(first, second)


def broken(how: str) -> bytes:
    file = BytesIO()
    Image.fromarray(RANDOM.integers(0, 256, (99, 99, 3), np.uint8)).save(
        file, "JPEG" if how == "half a JPEG" else "PNG"
    )
    whole = bytearray(file.getvalue())
    if how.startswith("half"):
        return bytes(whole[: len(whole) // 2])
    if how == "a flipped byte":
        whole[len(whole) // 2] ^= 0xFF
    return {"empty": b"", "text": b"not a picture\n", "a flipped byte": bytes(whole)}[how]


@pytest.mark.parametrize("how", ["empty", "text", "half a PNG", "half a JPEG", "a flipped byte"])
def test_files_that_are_no_pictures_are_named(paint: Paint, read: Any, how: str) -> None:
    good, bad = paint("good.png"), paint("bad.png")
    bad.write_bytes(broken(how))
    with pytest.raises(ModelsError, match=r"bad\.png: can't be read as a picture \(.+\); save it anew") as caught:
        read(good, bad)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("bad.png") == 1


def test_pictures_of_32_bits_are_refused(paint: Paint, read: Any) -> None:
    for pixels in (GREY.astype(np.int32), GREY.astype(np.float32)):
        with pytest.raises(ModelsError, match=r"a\.tiff: .*32 bits a pixel, not 8 or 16"):
            read(paint("a.tiff", pixels))


@pytest.mark.parametrize("most", [40, 20], ids=["a warning of pillow's", "an error of pillow's"])
def test_decompression_bombs_are_refused(paint: Paint, read: Any, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = paint("a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    with pytest.raises(ModelsError, match=rf"a\.png: has more than {most} pixels; save it smaller"):
        read(path)


def test_missing_file(read: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelsError, match=r"gone\.png: can't be read as a picture \(No such file"):
        read(tmp_path / "gone.png")


def test_folders_of_two_splits(paint: Paint, tmp_path: Path) -> None:
    """A class may have nothing to test; what file managers leave behind is no picture."""
    names = ["train/b/2.png", "train/a/1.png", "train/b/1.png", "train/c/x.gif", "test/b/9.png", "test/a/7.png"]
    paths = {name: paint(name) for name in names}
    for hidden in ("train/a/.hidden", "train/b/Thumbs.db", "train/.hidden", "train/notes.txt"):
        (tmp_path / "pictures" / hidden).write_text("no picture", encoding="utf-8")
    (tmp_path / "pictures" / "train" / ".git").mkdir()
    train, test, classes = find_pictures(tmp_path / "pictures")
    assert classes == ("a", "b", "c")
    assert train.files == [paths[name] for name in ("train/a/1.png", "train/b/1.png", "train/b/2.png", "train/c/x.gif")]
    assert train.labels == [0, 1, 1, 2]
    assert (test.files, test.labels) == ([paths["test/a/7.png"], paths["test/b/9.png"]], [0, 1])


def test_one_folder_is_split_class_by_class(tmp_path: Path) -> None:
    counts = {"a": 2, "b": 10, "c": 53}
    for name, count in counts.items():
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{number:02}.png").touch()
    train, test, _ = find_pictures(tmp_path)
    assert np.bincount(test.labels).tolist() == [1, 2, 11]
    assert np.bincount(train.labels).tolist() == [1, 8, 42]
    assert sorted(train.files + test.files) == sorted(tmp_path.rglob("*.png"))
    for some in (train, test):
        assert [path.parent.name for path in some.files] == ["abc"[label] for label in some.labels]
    assert find_pictures(tmp_path) == (train, test, ("a", "b", "c"))
    assert [path.name for path in test.files[-11:]] != [f"{number:02}.png" for number in range(11)]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_followed(paint: Paint, tmp_path: Path, console: Console) -> None:
    for name in ("a/1.png", "a/2.png", "elsewhere/1.png", "elsewhere/2.png"):
        paint(name, GREY if name[0] == "a" else 255 - GREY)
    folder = tmp_path / "linked"
    (folder / "b").mkdir(parents=True)
    os.symlink(tmp_path / "pictures" / "a", folder / "a")
    for name in ("1.png", "2.png"):
        os.symlink(tmp_path / "pictures" / "elsewhere" / name, folder / "b" / name)
    dataset = load("images", folder, console)
    assert dataset.classes == ("a", "b")
    assert not (dataset.train_images[:][0] == dataset.train_images[:][1]).any()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], r"pictures: no such folder"),
        (["1.png"], r"pictures: has no folder of a class; pictures stand in folders of their classes"),
        (["cats/1.png"], r"pictures: has the folder of one class alone, cats"),
        (["train/a/1.png", "train/b/1.png"], "has train but no test; give both"),
        (["test/a/1.png"], "has test but no train"),
        (["train/a/1.png", "test/a/1.png"], r"train: has the folder of one class alone, a"),
        (["train/a/1.png", "train/b/1.png", "test/1.png"], r"test: has no folder of a class"),
        (
            ["train/a/1.png", "train/b/1.png", "test/c/1.png"],
            r"test.c: no class of that name is trained on; add train/c",
        ),
        (["train/a/1.png", "train/b/.hidden.png", "test/a/1.png"], r"train.b: has no pictures"),
        (["train/a/1.png", "train/b/1.png", "test/a/.hidden.png"], r"test.a: has no pictures"),
        (["a/1.png", "a/2.png", "b/1.png"], r"b: has one picture; one to train on and one to test on"),
        (["a/1.png", "a/2.png", "b/1/2.png"], r"b.1: is a folder inside that of a class"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_folders_that_are_no_data_set(
    paint: Paint, tmp_path: Path, console: Console, names: list[str], says: str
) -> None:
    for name in names:
        paint(name)
    with pytest.raises(ModelsError, match=says) as caught:
        load("images", tmp_path / "pictures", console)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_listed(
    paint: Paint, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    paint("a/1.png")
    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(ModelsError, match=r"pictures: can't be read \(Permission denied\); check its permissions"):
        load("images", tmp_path / "pictures", console)


def test_reading_shows_how_far_it_is(paint: Paint, tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        paint(name)
    file = StringIO()
    load("images", tmp_path / "pictures", Console(file=file, width=80, force_terminal=True))
    assert "reading pictures" in file.getvalue()


@pytest.mark.parametrize(("options", "shape"), [((), [3, 28, 28]), (("--size", "32", "--channels", "1"), [1, 32, 32])])
def test_training_on_pictures(paint: Paint, tmp_path: Path, options: tuple[str, ...], shape: list[int]) -> None:
    """Warm and cold pictures are told apart after a few epochs; grey, they can't be."""
    random = np.random.default_rng(1)
    for name, bright in (("cold", 2), ("warm", 0)):
        for number in range(30):
            pixels = random.integers(0, 60, (28, 28, 3), np.uint8)
            pixels[..., bright] += 120
            paint(f"{name}/{number}.png", pixels)
    result = CliRunner().invoke(
        app,
        [
            *("train", "simple_convnet", "--dataset", "images", "--data-dir", "pictures", "--run-dir", "run"),
            *("--epochs", "4", "--batch-size", "8", "--backend", "torch", *options),
        ],
    )
    assert result.exit_code == 0, result.output
    config = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert config["dataset"]["shape"] == shape
    assert config["dataset"]["classes"] == ["cold", "warm"]
    assert config["dataset"]["name"] == "pictures"
    assert (config["dataset"]["train_images"], config["dataset"]["test_images"]) == (48, 12)
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()[-2])
    assert last["test_accuracy"] == 1.0
