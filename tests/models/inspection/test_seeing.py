"""What a network is shown of a picture: MNIST's own form, found again from pictures made of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fastconv.models.data.preprocessing import DIGIT, PICTURE, WHOLE_DIGIT, Preprocessing
from fastconv.models.errors import ModelsError
from fastconv.models.inspection.seeing import seen

MNIST = Preprocessing(DIGIT, 1, 28, 28)
COLOURS = Preprocessing(PICTURE, 3, 20, 30)


def drawing() -> np.ndarray:
    """An L, dark on light, far from the middle of 200 x 300."""
    paper = np.full((200, 300), 240, np.uint8)
    paper[60:140, 30:44] = 20
    paper[126:140, 30:70] = 20
    return paper


def image(shades: np.ndarray) -> Image.Image:
    return Image.fromarray(shades.clip(0, 255).astype(np.uint8))


def box(pixels: np.ndarray) -> tuple[int, int]:
    rows, columns = np.nonzero(pixels > 60)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def centre(pixels: np.ndarray) -> np.ndarray:
    at = np.indices(pixels.shape) + 0.5
    return np.asarray((at * pixels).sum((1, 2)) / pixels.sum())


def apart(pixels: np.ndarray, other: np.ndarray) -> int:
    """The largest difference, after a shift of one pixel at most: a centre of mass may be rounded either way."""
    shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return min(int(abs(np.roll(pixels.astype(int), shift, (0, 1)) - other).max()) for shift in shifts)


def test_a_digit_is_fitted_and_centred() -> None:
    (pixels,) = seen(image(drawing()), MNIST)
    assert pixels.dtype == np.uint8
    assert box(pixels) == (20, 10)  # of 80 x 40
    assert pixels.max() == 255
    assert abs(centre(pixels) - 14.5).max() <= 0.5  # where MNIST's own digits have it


def test_wide_digits_keep_their_proportions() -> None:
    (pixels,) = seen(image(drawing()[:, :80].T), MNIST)
    assert box(pixels) == (10, 20)


def test_polarity_and_light_make_no_difference() -> None:
    """White on black, faint ink, grain and light that falls off to one side."""
    (expected,) = seen(image(drawing()), MNIST)
    grain = np.random.default_rng(0).normal(0, 3, drawing().shape)
    slope = np.linspace(0.65, 1, 300)
    for other in (255 - drawing(), 120 + drawing() // 4, drawing() * slope + grain):
        (pixels,) = seen(image(other), MNIST)
        assert apart(pixels, expected) <= 40
        assert box(pixels) == box(expected)


def test_size_and_place_make_no_difference() -> None:
    (expected,) = seen(image(drawing()), MNIST)
    for top, left, scale in ((0, 0, 1), (40, 200, 1), (10, 60, 3)):
        moved = np.roll(drawing(), (top, left), (0, 1)).repeat(scale, 0).repeat(scale, 1)
        (pixels,) = seen(image(moved), MNIST)
        assert apart(pixels, expected) <= 40


def test_an_image_of_the_data_set_is_taken_as_it_is() -> None:
    shades = np.zeros((28, 28), np.uint8)
    shades[2:9, 3:8] = 200  # neither centred nor of full size or strength
    assert (seen(image(shades), MNIST)[0] == shades).all()
    turned = seen(image(255 - shades), MNIST)[0]
    assert box(turned) == (20, 14)
    assert turned.max() == 255


def test_as_is_only_resizes() -> None:
    assert (seen(image(np.full((9, 7), 33)), MNIST, as_is=True) == 33).all()
    (pixels,) = seen(image(drawing()), MNIST, as_is=True)
    assert pixels[0, 0] == 240
    assert pixels[15, 3] < 60


def test_other_sizes_have_a_box_in_proportion() -> None:
    (pixels,) = seen(image(drawing()), replace(MNIST, height=56, width=84))
    assert pixels.shape == (56, 84)
    assert box(pixels) == (40, 20)


def test_scikit_learns_digits_fill_the_image() -> None:
    assert box(seen(image(drawing()), replace(MNIST, subject=WHOLE_DIGIT))[0]) == (28, 14)


def test_colours_stay_and_the_middle_is_taken() -> None:
    picture = Image.new("RGB", (300, 100), (0, 0, 255))
    picture.paste((250, 20, 10), (75, 0, 225, 100))
    pixels = seen(picture, COLOURS)
    assert pixels.shape == (3, 20, 30)
    for channel, value in zip(pixels, (250, 20, 10), strict=True):
        assert abs(channel[:, 1:-1].astype(int) - value).max() <= 1  # the border's columns mix with what is beyond


def test_digits_in_three_channels_are_digits() -> None:
    pixels = seen(image(drawing()), replace(MNIST, channels=3))
    assert (pixels == seen(image(drawing()), MNIST)).all()
    assert pixels.shape == (3, 28, 28)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (28, 28), (200, 1)], ids=str)
@pytest.mark.parametrize("shade", [0, 128, 255])
def test_nothing_on_it(size: tuple[int, int], shade: int) -> None:
    blank = image(np.full(size, shade))
    if size == (28, 28):  # it could be one of the data set
        assert (seen(blank, MNIST) == shade).all()
        return
    with pytest.raises(ModelsError, match=r"nothing stands out.*--as-is"):
        seen(blank, MNIST)


def test_thin_strokes_are_as_strong_as_thick_ones() -> None:
    """Two pixels of four hundred, which are a tenth of one that the network sees."""
    paper = np.full((400, 400), 250)
    paper[20:380, 199:201] = 0
    paper[20:22, 150:250] = 0
    (pixels,) = seen(image(paper), MNIST)
    assert pixels.max() == 255


@pytest.mark.parametrize("size", [(5, 1), (1, 500), (500, 2), (7, 7)], ids=str)
def test_odd_sizes(size: tuple[int, int]) -> None:
    shades = np.zeros(size)
    shades[-1, -1] = 255
    (pixels,) = seen(image(shades), MNIST)
    assert pixels.shape == (28, 28)
    assert pixels.max() == 255


def test_channels_that_pictures_do_not_have() -> None:
    with pytest.raises(ModelsError, match="2 channels"):
        seen(image(drawing()), replace(MNIST, channels=2))
