"""Evaluation: the counts, the figures that follow, the table and the picture."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from fastconv.models.data.dataset import Dataset
from fastconv.models.inspection.confusion import confusion_picture
from fastconv.models.inspection.evaluation import Evaluation, class_table, evaluate
from fastconv.models.inspection.trained import open_run
from fastconv.models.training.loop import score

BY_HAND = Evaluation(("cat", "dog", "emu"), torch.tensor([[3, 1, 0], [0, 2, 2], [0, 0, 0]]), 0.5)


def test_counts_are_those_of_a_loop(run: Path, all_digits: Dataset, console: Console) -> None:
    opened = open_run(str(run))
    found = evaluate(opened, all_digits, console)
    expected = np.zeros((10, 10), int)
    with torch.no_grad():
        for image, label in zip(all_digits.test_images, all_digits.test_labels, strict=True):
            expected[label, opened.model(image[None]).argmax()] += 1
    assert (found.confusion.numpy() == expected).all()
    assert np.count_nonzero(expected - np.diag(np.diag(expected))) > 3  # or rows and columns could be exchanged
    assert (found.accuracy, found.loss) == pytest.approx(
        score(opened.model, all_digits.test_images, all_digits.test_labels)
    )


def test_figures_by_hand() -> None:
    assert (BY_HAND.images, BY_HAND.correct, BY_HAND.accuracy) == (8, 5, 0.625)
    console = Console(file=StringIO(), width=100)
    console.print(class_table(BY_HAND))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert rows == [
        ["cat", "4", "75.00%", "100.00%", "dog (1)"],
        ["dog", "4", "50.00%", "66.67%", "emu (2)"],
        ["emu", "0", "-", "0.00%", ""],
    ]


def test_picture_has_the_counts_and_the_shares() -> None:
    (axes, _) = confusion_picture(BY_HAND, "pets").axes
    assert axes.get_title(loc="left").replace("\n", " ") == "pets: 62.50% of 8 images right"
    numbers = {text.get_position(): text.get_text() for text in axes.texts}
    assert numbers == {(0, 0): "3", (1, 0): "1", (1, 1): "2", (2, 1): "2"}  # column, row
    shares = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shares, [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 0]])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog", "emu"]


def test_many_classes_have_no_numbers() -> None:
    many = Evaluation(tuple(map(str, range(47))), torch.eye(47, dtype=torch.int64), 0.1)
    assert not confusion_picture(many, "letters").axes[0].texts
