"""An evaluation counts what a network takes the test images for, and gives the figures that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.nn.functional import cross_entropy

from fastconv.models.data.dataset import Dataset
from fastconv.models.inspection.trained import Trained
from fastconv.models.training.loop import TEST_BATCH

MOST_ROWS = 100
"""Most rows of the table of classes."""


@dataclass(frozen=True)
class Evaluation:
    """``confusion``: (classes, classes) int64, images of the row's class taken for the column's; ``loss``: the mean.

    ``classes`` are the classes' names.
    """

    classes: tuple[str, ...]
    confusion: Tensor
    loss: float

    @property
    def images(self) -> int:
        """Returns the number of images that were tested."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Returns the number of images that were recognised."""
        return int(self.confusion.diagonal().sum())

    @property
    def accuracy(self) -> float:
        """Returns the share of images that was recognised, 0..1."""
        return self.correct / self.images


@torch.no_grad()
def evaluate(run: Trained, dataset: Dataset, console: Console) -> Evaluation:
    """Show ``run`` the test images of ``dataset``; a bar on ``console`` if it is a terminal."""
    classes = run.facts.classes
    confusion, loss = torch.zeros(len(classes) ** 2, dtype=torch.int64), 0.0
    batches = torch.split(torch.arange(len(dataset.test_labels)), TEST_BATCH)
    for batch in track(batches, "testing", console=console, transient=True, disable=not console.is_terminal):
        logits, wanted = run.model(dataset.test_images[batch]), dataset.test_labels[batch]
        loss += cross_entropy(logits, wanted, reduction="sum").item()
        pairs = wanted * len(classes) + logits.argmax(1)
        confusion.index_add_(0, pairs, torch.ones_like(pairs))
    return Evaluation(classes, confusion.view(len(classes), -1), loss / len(dataset.test_labels))


def class_table(found: Evaluation) -> Table:
    """Returns a table with a line for each class: its images, recall, precision, and its most frequent mistake.

    With more than a hundred classes it has those of the lowest recall.
    """
    shown: Sequence[int] = range(len(found.classes))
    title = "Classes"
    if len(found.classes) > MOST_ROWS:
        counts = found.confusion.sum(1)
        recall = found.confusion.diagonal() / counts  # NaN, which comes last, for a class without images
        shown = sorted(recall.argsort(stable=True)[:MOST_ROWS].tolist())
        title = f"Classes, the {MOST_ROWS} of {len(found.classes):,} with the lowest recall"
    table = Table(title=title, title_justify="left")
    for heading in ("class", "images", "recall", "precision", "most often taken for"):
        table.add_column(heading, justify="left" if heading.endswith(("class", "for")) else "right")
    for at in shown:
        name = found.classes[at]
        row, column = found.confusion[at], found.confusion[:, at]
        right = int(row[at])
        mistakes = row.clone()
        mistakes[at] = 0
        worst = int(mistakes.argmax())
        mistaken = f"{found.classes[worst]} ({int(mistakes[worst]):,})" if mistakes[worst] else ""
        table.add_row(name, f"{int(row.sum()):,}", _share(right, row), _share(right, column), mistaken)
    return table


def _share(part: int, counts: Tensor) -> str:
    """Returns ``part`` of all ``counts`` as a text; an empty one if there are no counts."""
    whole = int(counts.sum())
    return f"{part / whole:.2%}" if whole else "-"
