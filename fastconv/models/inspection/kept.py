"""A table of the runs that come with the project."""

from __future__ import annotations

from rich.table import Table

from fastconv.models.inspection.facts import read_facts
from fastconv.models.inspection.log import read_log
from fastconv.models.inspection.trained import KEPT, names
from fastconv.models.training.run_folder import CONFIG


def kept_table() -> Table:
    """Returns a table with a line for each run: network, data set, and test accuracy after the last epoch."""
    table = Table("run", "network", "data set", title="Trained runs that come along (RUN)", title_justify="left")
    table.add_column("test accuracy", justify="right")
    for name in names():
        facts = read_facts(KEPT / name / CONFIG)
        _, accuracies = read_log(KEPT / name).of("test_accuracy")
        table.add_row(name, facts.network, facts.dataset, f"{accuracies[-1]:.2%}")
    return table
