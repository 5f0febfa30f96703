"""Profiles side by side, as a table for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table

from fastconv.models.data.dataset import Dataset
from fastconv.models.profiling.measure import Profile
from fastconv.models.profiling.parts import order
from fastconv.models.training.settings import Settings

HOW = (
    "Time of the training's own thread by torch's profiler: each operator's without what it calls, under the part that "
    "called it; scaled from recorded steps to the same number of steps left alone, whose time is the step's. Layers "
    "that run together are one part (--separate calls them one by one); a block's activation and pooling are in its "
    "convolution where the backend does them in one step. Python and dispatch is what no operator took."
)


def profile_table(settings: Settings, dataset: Dataset, profiles: Sequence[Profile]) -> Table:
    """Returns a table of milliseconds a step, and their share, for each part of any profile, and for the whole."""
    images = len(dataset.train_labels)
    steps = math.ceil(images / settings.recipe.batch_size)
    shape = " x ".join(map(str, dataset.shape))
    table = Table(
        title=f"A training step of {settings.network}: {settings.recipe.batch_size} images of {shape}",
        caption=HOW,
        title_justify="left",
        caption_justify="left",
        show_footer=True,
    )
    table.add_column("part", footer=f"a step\nan epoch, {steps:,} steps")
    for one in profiles:
        whole = f"{one.step * 1e3:,.2f} ms\n{one.step * steps:,.1f} s"
        table.add_column(one.backend, footer=whole, justify="right", overflow="fold")
        table.add_column("share", footer="100%", justify="right")
    for part in order():
        found = [one.seconds.get(part, 0.0) for one in profiles]
        if any(found):
            cells = [_cells(seconds, one) for seconds, one in zip(found, profiles, strict=True)]
            table.add_row(str(part), *(text for pair in cells for text in pair))
    return table


def _cells(seconds: float, profile: Profile) -> tuple[str, str]:
    return (f"{seconds * 1e3:,.2f} ms", f"{seconds / profile.step:.1%}") if seconds else ("", "")
