"""Opens a user's picture of any format: upright, in grey or in colour, on a plain ground."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from fastconv.models.errors import ModelsError

LARGEST_SIDE = 512
"""Largest side in pixels; larger pictures are reduced to it, which is still far more than a network sees."""

Grey = npt.NDArray[np.float32]
"""Shades of grey, (height, width), 0 black to 255 white."""


def open_picture(path: Path) -> Image.Image:
    """Returns the picture in the file ``path``, in mode "L" (grey) or "RGB", 512 pixels at most on a side.

    A moving picture's first frame is taken, and turned as its camera says. Transparent parts become white, or black
    behind a light drawing. 16-bit pictures are reduced to 8 bits, those of wider types from their darkest to their
    lightest value.

    Raises ModelsError, which names the file, for what isn't a picture, is damaged, or is too large to be opened safely.
    """
    if not path.is_file():
        raise ModelsError(f"{path}: {'is no file' if path.exists() else 'no such file'}; name a picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                opened.draft("RGB", (LARGEST_SIDE, LARGEST_SIDE))
                upright = ImageOps.exif_transpose(opened)
                picture = _eight_bit(upright)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, MemoryError):
        raise ModelsError(f"{path}: has too many pixels to be opened; make it smaller") from None
    except Exception as error:  # a decoder may raise anything, and the file may hold anything
        reason = "in no format that pillow reads" if isinstance(error, UnidentifiedImageError) else str(error)
        raise ModelsError(f"{path}: isn't a picture, or is damaged ({reason})") from None
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BOX)
    return picture


def grey(picture: Image.Image) -> Grey:
    """Returns ``picture`` in shades of grey."""
    return np.asarray(picture.convert("L"), dtype=np.float32)


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Returns the picture in mode "L" or "RGB"."""
    if picture.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(picture).astype(np.float64))
        least, most = (0.0, 65535.0) if picture.mode.startswith("I;16") else (values.min(), values.max())
        return Image.fromarray(((values - least) * (255 / ((most - least) or 1))).round().astype(np.uint8))
    if picture.has_transparency_data:
        return _on_ground(picture.convert("RGBA"))
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def _on_ground(picture: Image.Image) -> Image.Image:
    """Returns the picture on white, or on black if the drawing is lighter than middle grey."""
    shades, cover = (np.asarray(picture.convert("LA"), dtype=np.float64)[..., part] for part in (0, 1))
    light = (shades * cover).sum() > 127.5 * cover.sum()
    ground = Image.new("RGBA", picture.size, "black" if light else "white")
    return Image.alpha_composite(ground, picture).convert("RGB")
