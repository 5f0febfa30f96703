"""The tables that end a training and a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fastconv.models.data.dataset import Dataset
from fastconv.models.training.compare import REFERENCE, Contestant, disagreement, shared_steps
from fastconv.models.training.progress import clock
from fastconv.models.training.settings import Settings
from fastconv.models.training.train import TrainedRun


def training_table(settings: Settings, dataset: Dataset, run: TrainedRun) -> Table:
    """Returns a table of one finished run, with a line for each fact."""
    last, best = run.epochs[-1], max(run.epochs, key=lambda epoch: epoch.test_accuracy)
    seconds = sum(epoch.seconds for epoch in run.epochs)
    speed = sum(epoch.images_per_second * epoch.seconds for epoch in run.epochs) / seconds
    held = f"{run.held:,} held out, " if run.held else ""
    rows = {
        "network": f"{settings.network}, {run.parameters:,} parameters",
        "backend": settings.backend,
        "data": f"{dataset.name}, {len(dataset.train_labels) - run.held:,} images to train on, "
        f"{held}{len(dataset.test_labels):,} to test on",
        "recipe": _recipe(settings),
        "training": f"{len(run.epochs)} epochs in {clock(seconds)}, {speed:,.0f} images/s",
        "loss": f"{last.train_loss:.4f} training, {last.test_loss:.4f} test",
        "test accuracy": f"{last.test_accuracy:.2%} (best {best.test_accuracy:.2%}, epoch {best.number})",
        "weights kept": f"those of epoch {run.kept.number}, validation loss {run.kept.validation_loss:.4f}"
        if run.kept.validation_loss is not None
        else "",
        "run folder": str(run.path),
    }
    table = Table(title="Summary", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # a folder's name is there to be copied
    for name, said in rows.items():
        if said:
            table.add_row(name, said)
    return table


def _recipe(settings: Settings) -> str:
    """Returns the recipe's values that every training has, and those that were asked for."""
    recipe = settings.recipe
    asked = {
        f"momentum {recipe.momentum:g}": recipe.optimizer == "sgd",
        f"weight decay {recipe.weight_decay:g}": recipe.weight_decay > 0,
        f"schedule {recipe.schedule}": recipe.schedule != "constant",
        f"batch {recipe.batch_size}": True,
        f"shift {recipe.shift} pixels": recipe.shift > 0,
        f"rotation {recipe.rotation:g} degrees": recipe.rotation > 0,
        settings.precision: settings.precision != "float32",
        f"patience {settings.patience}": settings.patience is not None,
        f"on {settings.device}": settings.device != "cpu",
    }
    said = [what for what, there in asked.items() if there]
    return ", ".join([recipe.optimizer, f"learning rate {recipe.learning_rate:g}", *said, f"seed {settings.seed}"])


def comparison_report(contestants: Sequence[Contestant]) -> RenderableType:
    """Returns a table of the backends that ran, the fastest first, and a line for each that didn't or failed.

    They are measured by torch, or by the first that ran where it didn't.
    """
    ran = sorted((one for one in contestants if one.steps), key=lambda one: -one.images_per_second)
    in_order = [one for one in contestants if one.steps] or [Contestant(REFERENCE)]
    reference = next((one for one in in_order if one.backend == REFERENCE), in_order[0])
    against = reference.backend if reference.backend == REFERENCE else "first"
    shared = shared_steps(ran)
    table = Table(title="The same training on each backend", title_justify="left")
    table.add_column("backend", overflow="fold")
    for heading in ("images/s", f"x {against}", "steps", "loss", f"off {against}"):
        table.add_column(heading, justify="right")
    for one in ran:
        loss = f"{one.steps[shared - 1].loss:.6f}"
        speed, off = one.images_per_second, f"{disagreement(one, reference):.1e}"
        ratio = f"{speed / reference.images_per_second:.2f}"
        table.add_row(one.backend, f"{speed:,.0f}", ratio, f"{len(one.steps):,}", loss, off)
    notes = [
        f"loss: of step {shared}, the last that all made. "
        f"off {against}: largest relative difference of a loss, over the steps both made."
    ]
    if against != REFERENCE:
        notes.append(f"first: {reference.backend}.")
    if any(one.backend == "im2col" for one in ran):
        notes.append("im2col: on one thread, so that NumPy's matrix product and torch don't wait for each other.")
    notes += [f"{one.backend}: {one.trouble}" for one in contestants if one.trouble]
    return Group(table, *(Text(note) for note in notes))
