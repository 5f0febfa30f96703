"""Opening pictures of all kinds; what isn't one, or is damaged, is told by name."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastconv.models.errors import ModelsError
from fastconv.models.inspection.picture_files import LARGEST_SIDE, grey, open_picture

RAMP = np.add.outer(np.arange(30) * 4, np.arange(40) * 3).astype(np.uint8)  # 0 to 233, no two corners alike


def opened(image: Image.Image, name: str, **how: object) -> np.ndarray:
    path = Path(name)
    image.save(path, **how)  # type: ignore[arg-type]
    return grey(open_picture(path))


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "tiff", "webp", "pgm", "tga", "jpg"])
def test_formats(kind: str) -> None:
    how = {"lossless": True} if kind == "webp" else {}
    found = opened(Image.fromarray(RAMP), f"ramp.{kind}", **how)
    np.testing.assert_allclose(found, RAMP, atol=4 if kind == "jpg" else 0)


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "I", "F"])
def test_modes(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(RAMP.astype(np.uint16) * 257)
    elif mode in "IF":
        image = Image.fromarray(RAMP.astype(np.int32 if mode == "I" else np.float32) * 7 - 100)
    elif mode == "1":
        image = Image.fromarray(RAMP > 99)
    else:
        image = Image.fromarray(RAMP).convert(mode)
    found = opened(image, "ramp.tiff")
    expected = {"1": (RAMP > 99) * 255.0, "I": RAMP * (255 / 233), "F": RAMP * (255 / 233)}.get(mode, RAMP)
    np.testing.assert_allclose(found, expected, atol=1)


def test_colour_stays() -> None:
    Image.new("RGB", (3, 3), (200, 10, 30)).save("red.png")
    assert open_picture(Path("red.png")).getpixel((1, 1)) == (200, 10, 30)


def test_cameras_turns_are_undone() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    found = opened(Image.fromarray(RAMP), "turned.png", exif=exif)
    np.testing.assert_array_equal(found, np.rot90(RAMP, -1))


@pytest.mark.parametrize(("ink", "ground"), [("black", 255), ("white", 0)])
@pytest.mark.parametrize("kind", ["RGBA", "palette"])
def test_transparent_grounds_differ_from_the_ink(ink: str, ground: int, kind: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste(ink, (2, 2, 5, 5))
    if kind == "palette":
        image = image.quantize(4)
    found = opened(image, "drawing.png")
    assert (found[0, 0], found[3, 3]) == (ground, 255 - ground)


def test_first_of_moving_pictures() -> None:
    first, second = Image.new("L", (5, 5), 40), Image.new("L", (5, 5), 200)
    assert (opened(first, "moving.gif", save_all=True, append_images=[second]) == 40).all()


def test_large_pictures_are_reduced_in_proportion() -> None:
    Image.new("L", (4000, 1000), 90).save("large.png")
    found = open_picture(Path("large.png"))
    assert found.size == (LARGEST_SIDE, LARGEST_SIDE // 4)
    assert (grey(found) == 90).all()


def whole_png() -> bytes:
    content = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8)).save(content, "png")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "in no format that pillow reads"),
        (b"a letter, not a picture", "in no format that pillow reads"),
        (whole_png()[:200], "isn't a picture, or is damaged"),
        (whole_png()[:60] + bytes(40) + whole_png()[100:], "isn't a picture, or is damaged"),
        (whole_png()[:8] + b"\xff" * 50, "isn't a picture, or is damaged"),
    ],
    ids=["empty", "text", "short", "overwritten", "header"],
)
def test_damaged_files(content: bytes, says: str) -> None:
    Path("bad.png").write_bytes(content)
    with pytest.raises(ModelsError, match=rf"^bad\.png: .*{says}") as caught:
        open_picture(Path("bad.png"))
    assert "\n" not in str(caught.value)


def test_what_is_no_file() -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")  # reading from it would wait for ever
    for name, says in (("nowhere.png", "no such file"), ("folder", "is no file"), ("pipe", "is no file")):
        with pytest.raises(ModelsError, match=f"{name}: {says}"):
            open_picture(Path(name))


def test_bombs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (100, 100)).save("bomb.png")
    for limit in (9_000, 4_000):  # pillow warns beyond one limit and refuses beyond twice that
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ModelsError, match=r"bomb.png: has too many pixels"):
            open_picture(Path("bomb.png"))
