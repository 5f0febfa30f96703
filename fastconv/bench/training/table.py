"""The README's table of networks: what each learned through fastconv, and what an epoch takes beside plain torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv.bench.report.cells import Cell
from fastconv.bench.report.grid import Column, Grid
from fastconv.bench.training.contestants import FUSED, PLAIN
from fastconv.bench.training.learned import Learned
from fastconv.bench.training.results import Race, TrainingResults

GOALS = {
    "mlp": 0.907,
    "dropout_cnn": 0.982,
    "lenet5": 0.984,
    "simple_convnet": 0.985,
    "two_layer_cnn": 0.986,
    "four_layer_cnn": 0.98,
    "small_cnn": 0.98,
    "inception": 0.985,
    "alexnet": 0.99,
    "vgg": 0.99,
    "record": 0.99,
}
"""Test accuracies on MNIST that the networks' sources, or their kin, reach."""

NUMBA = "numba"


def training_table(results: TrainingResults, runs: Sequence[Learned]) -> Grid:
    """A row for each network that was raced or has learned, sorted by the time of plain torch's epoch."""
    learned = {run.network: run for run in runs}
    races = {race.network: race for race in results.races}
    names = sorted({*learned, *races}, key=lambda name: _torch_epoch(races.get(name)))
    columns = [
        *(Column("network", number=False), Column("images", number=False), Column("recipe", number=False)),
        *(Column("test accuracy"), Column("goal"), Column("s an epoch, numba"), Column("plain torch"), Column("ratio")),
        Column("torch, fused optimiser"),
    ]
    rows = [_row(name, learned.get(name), races.get(name)) for name in names]
    return Grid(columns, rows, note=sentence(results))


def sentence(results: TrainingResults) -> str:
    """One line: the machine, versions, commit and date."""
    keys = ("processor", "instruction set", "contestants", "commit", "date")
    parts = [results.environment[key] for key in keys if results.environment.get(key)]
    return " · ".join([*parts, f"threads: {results.environment['threads']}"])


def _row(name: str, run: Learned | None, race: Race | None) -> list[Cell]:
    goal = GOALS.get(name)
    return [
        Cell(name),
        Cell(" x ".join(map(str, run.shape)) if run else ""),
        Cell(recipe_text(run.recipe) if run else ""),
        Cell(f"{run.test_accuracy[-1]:.2%}" if run else ""),
        Cell(f"{goal:.1%}" if goal else "learns"),
        *_times(race),
    ]


def _times(race: Race | None) -> list[Cell]:
    if race is None:
        return [Cell("")] * 4
    mine, theirs, fused = (race.epoch(who) if who in race.steps else None for who in (NUMBA, PLAIN, FUSED))
    ratio = theirs / mine if mine and theirs else None
    return [
        Cell(f"{mine:.2f}" if mine else race.troubles.get(NUMBA, "")),
        Cell(f"{theirs:.2f}" if theirs else race.troubles.get(PLAIN, "")),
        Cell(f"{ratio:.2f}" if ratio else ""),
        Cell(f"{fused:.2f}" if fused else race.troubles.get(FUSED, "")),
    ]


def recipe_text(recipe: dict[str, Any]) -> str:
    """A recipe in a few words; what is as usual isn't said."""
    words = [f"{recipe['optimizer']} {recipe['learning_rate']:g}", f"batch {recipe['batch_size']}"]
    if recipe["optimizer"] == "sgd" and recipe["momentum"]:
        words.insert(1, f"momentum {recipe['momentum']:g}")
    if recipe.get("schedule", "constant") != "constant":
        words.append(recipe["schedule"])
    words += [f"{what} {recipe[what]:g}" for what in ("weight_decay", "shift", "rotation") if recipe.get(what)]
    return ", ".join([*words, f"{recipe['epochs']} epochs"]).replace("_", " ")


def _torch_epoch(race: Race | None) -> float:
    return race.epoch(PLAIN) if race and PLAIN in race.steps else float("inf")
