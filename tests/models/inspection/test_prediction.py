"""Predictions: what is recognised, which files are told off, and what the picture shows."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from fastconv.models.data.dataset import Dataset
from fastconv.models.inspection.output import save_picture
from fastconv.models.inspection.prediction import Prediction, predict, prediction_table
from fastconv.models.inspection.prediction_picture import MOST, prediction_picture
from fastconv.models.inspection.trained import open_run

DIGITS = tuple("0123456789")
SEEN = np.arange(784, dtype=np.uint8).reshape(1, 28, 28)


def prediction(*probabilities: float, path: str = "some.png") -> Prediction:
    return Prediction(Path(path), Image.new("L", (50, 40), 9), SEEN, list(probabilities))


def test_an_image_of_the_data_set_is_seen_and_judged_as_in_the_test(
    run: Path, all_digits: Dataset, console: Console
) -> None:
    opened = open_run(str(run))
    pixels = ((all_digits.test_images[:20] * all_digits.deviation + all_digits.mean) * 255).round().byte()
    paths = [Path(f"{number}.png") for number in range(20)]
    for path, each in zip(paths, pixels, strict=True):
        Image.fromarray(each[0].numpy()).save(path)
    found, errors = predict(opened, paths, False, console)
    assert not errors
    assert [one.path for one in found] == paths
    expected = opened.probabilities(all_digits.test_images[:20])
    torch.testing.assert_close(torch.tensor([one.probabilities for one in found]), expected)
    for one, each in zip(found, pixels, strict=True):
        assert (one.seen == each.numpy()).all()


def test_bad_files_do_not_keep_the_others(run: Path, console: Console) -> None:
    Image.new("L", (50, 50)).save("blank.png")
    Path("bad.png").write_bytes(b"\0")
    shades = np.zeros((50, 50), np.uint8)
    shades[10:40, 24:28] = 255
    Image.fromarray(shades).save("good.png")
    paths = [Path(name) for name in ("bad.png", "good.png", "blank.png", "nowhere.png")]
    found, errors = predict(open_run(str(run)), paths, False, console)
    assert [one.path.name for one in found] == ["good.png"]
    assert [str(error).partition(":")[0] for error in errors] == ["bad.png", "blank.png", "nowhere.png"]
    found, errors = predict(open_run(str(run)), paths, True, console)
    assert [one.path.name for one in found] == ["good.png", "blank.png"]


def test_table_has_the_likeliest_three() -> None:
    console = Console(file=StringIO(), width=100)
    console.print(prediction_table([prediction(0.05, 0.5, 0.0, 0.3, 0.15)], ("a", "b", "c", "d", "e")))
    (row,) = [line for line in console.file.getvalue().splitlines() if line.startswith("│")]  # type: ignore[attr-defined]
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["some.png", "b", "50.0%", "d (30.0%), e (15.0%)"]


def test_picture_has_a_row_for_each() -> None:
    two = [prediction(*([0.02] * 3 + [0.82] + [0.02] * 6)), prediction(*([0.6] + [0.4 / 9] * 9))]
    figure = prediction_picture(two, DIGITS)
    original, small, bars = figure.axes[:3]
    assert len(figure.axes) == 6
    assert np.asarray(original.images[0].get_array()).shape == (40, 50)
    assert (np.asarray(small.images[0].get_array()) == SEEN[0]).all()
    assert [bar.get_height() for bar in bars.patches] == two[0].probabilities  # type: ignore[attr-defined]
    assert bars.get_title(loc="left") == "3, 82.0%"
    assert figure.axes[5].get_title(loc="left") == "0, 60.0%"


def test_many_classes_and_many_pictures() -> None:
    """Ten bars, in the classes' order, and forty rows."""
    values = [0.01] * 47
    for at, value in ((40, 0.3), (3, 0.2), *((number, 0.02) for number in range(10, 18))):
        values[at] = value
    names = tuple(f"class {number}" for number in range(47))
    figure = prediction_picture([prediction(*values)] * (MOST + 5), names)
    assert len(figure.axes) == 3 * MOST
    shown = [label.get_text() for label in figure.axes[2].get_xticklabels()]
    assert shown == [f"class {number}" for number in (3, *range(10, 18), 40)]


@pytest.mark.parametrize("name", ["x" * 200 + ".png", "$\\frac$.png", "a b c.png", "\u6570.png"])
def test_any_name_can_be_drawn(name: str) -> None:
    """Of a file and of a class; a dollar begins no formula, and a character that the type lacks is no trouble."""
    names = (name[:20], *DIGITS[1:])
    save_picture(prediction_picture([prediction(*[0.1] * 10, path=name)], names), Path("picture.png"))
    assert Path("picture.png").exists()
