"""The demonstration: LeNet-5 learns to read digits through fastconv, then on every backend side by side."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from fastconv.models.data import load
from fastconv.models.data.source import Source
from fastconv.models.errors import TrainingError
from fastconv.models.training.compare import compare
from fastconv.models.training.settings import settings
from fastconv.models.training.tables import comparison_report, training_table
from fastconv.models.training.train import train

NETWORK = "lenet5"
EPOCHS = {"mnist": 2, "digits": 20}
"""Epochs of the demonstration, enough to pass the goal with room to spare."""
GOAL = 0.95
COMPARE_SECONDS = 8.0


def demo(data_dir: Path | None, console: Console) -> None:
    """Train on MNIST, or on scikit-learn's digits where there is no MNIST, and compare the backends.

    Takes one to three minutes on two cores. Raises TrainingError when the network reads fewer than 95% of the
    test images.
    """
    dataset = load("auto", data_dir, console)
    chosen = settings(NETWORK, epochs=EPOCHS[dataset.name])
    run = train(chosen, dataset, console, source=Source(dataset.name, str(data_dir.resolve()) if data_dir else None))
    console.print(training_table(chosen, dataset, run))
    accuracy = run.epochs[-1].test_accuracy
    if accuracy < GOAL:
        raise TrainingError(f"the demo reached {accuracy:.2%} test accuracy where {GOAL:.0%} were expected")
    console.print(comparison_report(compare(chosen, dataset, COMPARE_SECONDS, console)))
