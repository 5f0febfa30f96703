"""Picture files, of any format that pillow opens, as bytes of one size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.progress import track

from fastconv.models.data.class_folders import find_pictures
from fastconv.models.data.form import Form
from fastconv.models.data.idx import Bytes
from fastconv.models.data.split import Split
from fastconv.models.errors import ModelsError

DEEP_GREY = "I;16"
NOT_BYTES = ("I", "F")
"""Modes of 32 bits a pixel, for which no file says which values are black and white."""


def read_class_folders(folder: Path, form: Form, console: Console) -> tuple[Split, Split, tuple[str, ...]]:
    """Returns the training and the test split of the pictures in ``folder``, and the classes' names; see
    :func:`find_pictures`.

    Raises ModelsError as that and :func:`read_pictures` do.
    """
    train, test, classes = find_pictures(folder)
    images = read_pictures(train.files + test.files, form, console)
    labels = np.array(train.labels + test.labels)
    count = len(train.files)
    return Split(images[:count], labels[:count]), Split(images[count:], labels[count:]), classes


def read_pictures(paths: Sequence[Path], form: Form, console: Console) -> Bytes:
    """Returns the pictures (N, H, W) if all are grey, by their pixels or because ``form`` says so, else (N, 3, H, W).

    They are turned as their EXIF data say; what is transparent lies on white; of several frames the first counts. With
    a size, the largest square in the middle is scaled to it. Raises ModelsError, which names it, for a file that can't
    be read, has more pixels than pillow takes for harmless or 32 bits a pixel, and, without a size, for a picture of
    another size than the first.
    """
    pictures: list[Bytes] = []
    for path in track(paths, "reading pictures", console=console, transient=True, disable=not console.is_terminal):
        picture = _brought_to(form, read_picture(path))
        if pictures and picture.shape[:2] != pictures[0].shape[:2]:
            one, other = (" x ".join(map(str, some.shape[:2])) for some in (pictures[0], picture))
            raise ModelsError(
                f"{path}: has {other} pixels where {paths[0].name} has {one}; --size 64, or another, makes them alike"
            )
        pictures.append(picture)
    return _stacked(pictures)


def read_picture(path: Path) -> Image.Image:
    """Returns the picture in the file ``path``, in mode "L" or "RGB": upright, with 8 bits, transparent parts white.

    Raises ModelsError as :func:`read_pictures` does.
    """
    if path.exists() and not path.is_file():
        raise ModelsError(f"{path}: is no file; a picture is wanted")  # to open a pipe would wait for ever
    with _readable(path), Image.open(path) as opened:
        image = _eight_bits(ImageOps.exif_transpose(opened))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("L" if image.mode in ("1", "L") else "RGB")
    raise AssertionError("unreachable")


def middle(image: Image.Image, height: int, width: int) -> Image.Image:
    """Returns the largest part in the middle that has the proportions of ``height`` x ``width``, scaled to them."""
    scale = min(image.width / width, image.height / height)
    across, down = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    part = image.crop((left, top, left + across, top + down))
    return part.resize((width, height), Image.Resampling.BILINEAR)


def _brought_to(form: Form, image: Image.Image) -> Bytes:
    """Returns the pixels in the form, (H, W) for a grey picture, else (H, W, 3)."""
    if form.channels == 1:
        image = image.convert("L")
    if form.size is not None:
        image = middle(image, form.size, form.size)
    pixels = np.asarray(image)
    return pixels[..., 0] if pixels.ndim == 3 and (pixels == pixels[..., :1]).all() else pixels


def _eight_bits(image: Image.Image) -> Image.Image:
    """Returns the picture with 8 bits a channel; pillow's own conversion would make all but the darkest white."""
    if image.mode in NOT_BYTES:
        raise ValueError("it has 32 bits a pixel, not 8 or 16")
    if not image.mode.startswith(DEEP_GREY):
        return image
    return Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))


def _stacked(pictures: Sequence[Bytes]) -> Bytes:
    if all(picture.ndim == 2 for picture in pictures):
        return np.stack(pictures)
    height, width = pictures[0].shape[:2]
    images = np.empty((len(pictures), 3, height, width), np.uint8)
    for place, picture in zip(images, pictures, strict=True):
        place[...] = picture if picture.ndim == 2 else picture.transpose(2, 0, 1)
    return images


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns any error in reading the picture ``path`` into a ModelsError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        most = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise ModelsError(f"{path}: has more than {most} pixels; save it smaller, or remove it") from None
    except Exception as error:  # of a damaged file pillow's readers raise anything
        match error:
            case UnidentifiedImageError():
                reason = "it is of no format that pillow knows"
            case OSError(strerror=str(said)):
                reason = said
            case _:
                reason = str(error).partition("\n")[0] or type(error).__name__
        raise ModelsError(f"{path}: can't be read as a picture ({reason}); save it anew, or remove it") from None
