"""A picture is shown to a network in the size and the look of the images it was trained on, as the run records.

MNIST was made so (LeCun, Bottou, Bengio, Haffner 1998, section III.A): black-and-white digits, fitted into 20 x 20
pixels with their proportions kept, which makes them grey, then put into 28 x 28 with their centre of mass in the
middle; ink is light, paper dark. A photograph of a pen's stroke goes the same way, once paper is told from ink.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastconv.models.data.pictures import middle, read_picture
from fastconv.models.data.preprocessing import DIGIT, PICTURE, Preprocessing
from fastconv.models.errors import ModelsError
from fastconv.models.inspection.picture_files import Grey, grey, open_picture

Pixels = npt.NDArray[np.uint8]

BOX = 20 / 28
"""Share of an image's side that the digit fits into."""
WHOLE = 1.0
"""scikit-learn's digits fill theirs: a network trained on them knows 24% of them fitted into MNIST's box, 93% so."""
FRAME = 1 / 20
"""Width of a frame, as a share of the picture's side; most of the frame is taken to be paper."""
FAINT = 0.25
"""Share of the strongest ink; fainter marks are the paper's grain or a shadow."""


def look_at(path: Path, how: Preprocessing, as_is: bool) -> tuple[Image.Image, Pixels]:
    """Returns the picture in the file ``path``, and the image that the network is shown; raises ModelsError.

    The error names the file. A "picture" is read as in training; a digit's transparent ground becomes black or white,
    whichever its ink is not.
    """
    picture = read_picture(path) if how.subject == PICTURE else open_picture(path)
    try:
        return picture, seen(picture, how, as_is)
    except ModelsError as error:
        raise ModelsError(f"{path}: {error}") from None


def seen(picture: Image.Image, how: Preprocessing, as_is: bool = False) -> Pixels:
    """Returns ``picture`` (grey or RGB) as bytes (channels, height, width), as ``how`` says.

    Digits become like MNIST's, unless the picture has the data set's size and a dark ground: then it is taken as it is.
    The middle of other pictures is taken. With ``as_is`` the picture is only resized.

    Raises ModelsError for a digit of which nothing is to be seen, and for images of neither one channel nor three.
    """
    channels, height, width = how.channels, how.height, how.width
    if channels not in (1, 3):
        raise ModelsError(f"the network reads images of {channels} channels; pictures have 1 or 3")
    if as_is:
        fitted = picture.resize((width, height), Image.Resampling.BILINEAR)
    elif how.subject == PICTURE:
        fitted = middle(picture.convert("RGB" if channels == 3 else "L"), height, width)
    elif picture.size == (width, height) and not _on_light_ground(grey(picture)):
        fitted = picture
    else:
        fitted = _centred(grey(picture), height, width, BOX if how.subject == DIGIT else WHOLE)
    pixels = np.asarray(fitted.convert("RGB" if channels == 3 else "L"))
    return pixels.reshape(height, width, channels).transpose(2, 0, 1).copy()


def _frame(shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Returns a mask of the pixels along the four sides."""
    wide = max(1, round(min(shape) * FRAME))
    frame = np.ones(shape, bool)
    frame[wide:-wide, wide:-wide] = False
    return frame


def _paper(shades: Grey) -> Grey:
    """Returns the paper's shade at each pixel: a plane through the frame's shades, drawn marks left out."""
    rows, columns = np.indices(shades.shape, dtype=np.float32)
    places = np.stack([np.ones_like(rows), rows, columns], -1)  # (height, width, 3)
    ground = _frame(shades.shape)
    middle = np.median(shades[ground])
    spread = np.abs(shades - middle)
    ground &= spread <= 3 * np.median(spread[ground]) + 1
    plane = np.linalg.lstsq(places[ground], shades[ground], rcond=None)[0]
    return places @ plane.astype(np.float32)


def _on_light_ground(shades: Grey) -> bool:
    """Returns True if the ground is nearer to the picture's lightest shade than to its darkest."""
    return bool(np.median(shades[_frame(shades.shape)]) > (float(shades.min()) + float(shades.max())) / 2)


def _centred(shades: Grey, height: int, width: int, box: float) -> Image.Image:
    ink = _ink(shades)
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = min(round(height * box) / cut.shape[0], round(width * box) / cut.shape[1])
    size = [max(1, round(side * scale)) for side in cut.shape]
    small = np.asarray(Image.fromarray(cut).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    digit = small / small.max()
    canvas = np.zeros((height, width), np.float32)
    top, left = (_offset(digit, axis, room) for axis, room in enumerate(canvas.shape))
    canvas[top : top + size[0], left : left + size[1]] = digit
    return Image.fromarray((255 * canvas).round().astype(np.uint8))


def _ink(shades: Grey) -> Grey:
    """Returns the ink at each pixel, 0 for paper to 1 for the strongest; raises ModelsError if there is none."""
    paper = _paper(shades)
    ink = paper - shades if _on_light_ground(shades) else shades - paper
    strongest = float(ink.max())
    if strongest < 1:
        raise ModelsError("nothing stands out from its ground; --as-is shows it to the network all the same")
    return np.clip((ink / strongest - FAINT) / (1 - FAINT), 0, 1)


def _offset(digit: Grey, axis: int, room: int) -> int:
    """Returns where ``digit`` begins in ``room`` pixels: its centre of mass right after the middle, all inside."""
    mass = digit.sum(1 - axis)
    centre = float(np.average(np.arange(len(mass)) + 0.5, weights=mass))
    return min(max(round((room + 1) / 2 - centre), 0), room - len(mass))
