"""How a training went: losses and accuracies by epoch, drawn from its log."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, PercentFormatter

from models.errors import ModelsError
from models.inspection.log import History
from models.inspection.style import BLUE, GREEN, INK, ORANGE, style

LINES = (("train", INK, "o"), ("validation", GREEN, "s"), ("test", ORANGE, "^"))
SMOOTHED = 50
"""Of an epoch's steps one in so many: as much of the curve is averaged into each of its points."""


def curves_picture(history: History, title: str) -> Figure:
    """The loss on the left, the accuracy on the right; the steps' losses too, smoothed, where the log has them.

    Raises ModelsError for a log without an epoch.
    """
    if not history.epochs:
        raise ModelsError(f"{title}: its log has no epoch yet; there are no curves before the first is over")
    with style():
        figure = Figure((9, 3.6), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", weight="bold", size=11)
        losses, accuracies = figure.subplots(1, 2)
        _draw_steps(losses, history)
        _draw_epochs(losses, history, "loss")
        _draw_epochs(accuracies, history, "accuracy")
        losses.set_title("loss")
        if all((line.get_ydata() > 0).all() for line in losses.lines):
            losses.set_yscale("log")
            for axis_format in (losses.yaxis.set_major_formatter, losses.yaxis.set_minor_formatter):
                axis_format(FormatStrFormatter("%g"))
        accuracies.set_title("accuracy")
        accuracies.yaxis.set_major_formatter(PercentFormatter(1))
        for axes in (losses, accuracies):
            axes.set_xlabel("epoch")
            axes.set_xlim(0 if history.steps and axes is losses else 0.5, max(history.epochs) + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid()
            if axes.lines:
                axes.legend(frameon=False)
    return figure


def _draw_steps(axes: Axes, history: History) -> None:
    """A moving average over a part of an epoch, each at its last step's place."""
    if not history.steps:
        return
    epochs, numbers, losses = (np.array(values) for values in zip(*history.steps, strict=True))
    whole = numbers.max()
    window = max(1, min(whole // SMOOTHED, len(losses)))
    smooth = np.convolve(losses, np.full(window, 1 / window), "valid")
    places = epochs - 1 + numbers / whole
    label = f"training, {window} steps" if window > 1 else "training, a step"
    axes.plot(places[window - 1 :], smooth, color=BLUE, linewidth=0.6, alpha=0.6, label=label)


def _draw_epochs(axes: Axes, history: History, figure: str) -> None:
    for part, colour, marker in LINES:
        numbers, values = history.of(f"{part}_{figure}")
        if numbers:
            label = "training, an epoch" if part == "train" else part
            axes.plot(numbers, values, color=colour, marker=marker, markersize=4, linewidth=1.2, label=label)
            if figure == "accuracy":
                best = int(np.argmax(values))
                axes.annotate(
                    *(f"{values[best]:.2%}", (numbers[best], values[best]), (0, 5)),
                    textcoords="offset points",
                    ha="center",
                    size=8,
                    color=colour,
                )
