"""One preprocessing: a file that a run was trained or tested on is predicted as the test judged it."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from fastconv.models import data
from fastconv.models.data.preprocessing import DIGIT, PICTURE, WHOLE_DIGIT, Preprocessing
from fastconv.models.data.source import Source
from fastconv.models.inspection.datasets import load_for
from fastconv.models.inspection.prediction import predict
from fastconv.models.inspection.trained import open_run
from fastconv.models.training.settings import settings
from fastconv.models.training.train import train
from tests.models.inspection.conftest import change

QUIET = Console(file=StringIO())


def draw(kind: str, side: int, name: str, number: int) -> Image.Image:
    """An icon: light or dark, off the middle, on transparent, coloured or grey ground."""
    random = np.random.default_rng(number)
    if kind == "colour":
        return Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8))
    shades = np.zeros((side, side), np.uint8)
    shades[number % 3 + 1 : number % 3 + 9, 2:5] = 120 if name == "bar" else 250
    if kind == "grey":
        return Image.fromarray(shades + 5)
    cover = Image.fromarray((shades > 0).astype(np.uint8) * 255)
    picture = Image.fromarray(shades).convert("RGBA")
    picture.putalpha(cover)
    return picture


def trained_on(folder: Path, size: int | None = None, channels: int | None = None, dataset: str = "images") -> Path:
    found = data.load(dataset, folder, QUIET, size, channels)
    source = Source(dataset, str(folder), size, channels)
    return train(settings("mlp", "torch", epochs=1), found, QUIET, source=source).path


@pytest.mark.parametrize(
    ("kind", "side", "size", "channels"),
    [
        ("transparent", 28, None, None),
        ("transparent", 40, 20, None),
        ("grey", 28, None, None),
        ("grey", 31, 16, 3),
        ("colour", 28, None, None),
        ("colour", 40, 25, 1),
    ],
)
def test_predict_sees_what_evaluate_saw(
    tmp_path: Path, kind: str, side: int, size: int | None, channels: int | None
) -> None:
    folder = tmp_path / "icons"
    for name in ("bar", "dot"):
        (folder / "train" / name).mkdir(parents=True)
        (folder / "test" / name).mkdir(parents=True)
        for number in range(4):
            part = "test" if number < 2 else "train"
            draw(kind, side, name, number).save(folder / part / name / f"{number}.png")
    run = open_run(str(trained_on(folder, size, channels)))
    tested = load_for(run.facts, None, None, QUIET)
    paths = sorted((folder / "test").glob("*/*"))
    found, errors = predict(run, paths, False, QUIET)
    assert not errors
    shown = np.stack([one.seen for one in found])
    assert (shown == run.pixels(tested.test_images[:])).all()
    expected = run.probabilities(tested.test_images[:])
    torch.testing.assert_close(torch.tensor([one.probabilities for one in found]), expected)


@pytest.mark.parametrize("size", [None, 20, 40])
def test_scaled_data_sets_are_scaled_alike(idx_folder: Path, size: int | None) -> None:
    run = open_run(str(trained_on(idx_folder, size, dataset="folder")))
    plain = data.load("folder", idx_folder, QUIET)
    pixels = ((plain.test_images[:] * plain.deviation + plain.mean) * 255).round().byte().numpy()
    for number, each in enumerate(pixels):
        Image.fromarray(each[0]).save(f"{number}.png")
    found, errors = predict(run, [Path(f"{number}.png") for number in range(len(pixels))], False, QUIET)
    assert not errors
    tested = load_for(run.facts, None, None, QUIET)
    expected = run.probabilities(tested.test_images[:])
    torch.testing.assert_close(torch.tensor([one.probabilities for one in found]), expected)


def test_the_rule_is_on_record_and_assumed_for_old_runs(run: Path) -> None:
    recorded = open_run(str(run)).facts
    assert recorded.recorded == recorded.preprocessing == Preprocessing(WHOLE_DIGIT, 1, 28, 28)
    change(run, dataset__preprocessing=None)
    for name, source, expected in (
        ("mnist", None, Preprocessing(DIGIT, 1, 28, 28)),
        ("digits", None, Preprocessing(WHOLE_DIGIT, 1, 28, 28)),
        ("icons", None, Preprocessing(PICTURE, 1, 28, 28)),
        ("mnist", "images", Preprocessing(PICTURE, 1, 28, 28)),  # a folder of that name
    ):
        told: Any = {"dataset": source, "data_dir": "x", "size": None, "channels": None} if source else {}
        change(run, dataset__name=name, source=told)
        facts = open_run(str(run)).facts
        assert facts.recorded is None
        assert facts.preprocessing == expected
