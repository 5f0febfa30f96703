"""``python -m bench.gpu``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from bench.gpu import steps
from bench.gpu.contest import Rules
from bench.gpu.contestants import names
from bench.gpu.limits import slug
from bench.gpu.steps import Notebook, Outcome
from bench.gpu.summary import overview, worst_events
from bench.gpu.targets import targets
from bench.report.grid import to_rich
from bench.results import Results, load

STEPS = ("tests", "memcheck", "racecheck", "limits", "contest", "training")
NO_GPU = (
    "torch finds no NVIDIA GPU here; with one this would run tests/gpu, compute-sanitizer, the contest with cuDNN, the "
    "card's limits and an epoch of LeNet-5, and say which targets are met"
)

_WIDE = 170
"""Characters."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder for the file of results.")] = Path("bench/results"),
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the single rungs of the ladder.")] = False,
    skip_tests: Annotated[bool, typer.Option("--skip-tests", help="Leave out tests/gpu.")] = False,
    step: Annotated[
        list[str] | None,
        typer.Option(help=f"A step, repeatable: {', '.join(STEPS)}. What it finds is added to the card's file."),
    ] = None,
    show: Annotated[Path | None, typer.Option(help="Only show what a file of results says; needs no GPU.")] = None,
) -> None:
    """Test, watch and time the backend `cuda` on this machine's NVIDIA GPU, and say which targets are met.

    Exit status: 0, 1 if a step failed, 2 if there is no GPU.
    """
    strange = set(step or ()) - set(STEPS)
    if strange:
        raise typer.BadParameter(f"no step is called {', '.join(sorted(strange))}; they are {', '.join(STEPS)}")
    console = _console()
    if show is not None:
        _show(load(show), console)
        return
    if not torch.cuda.is_available():
        typer.echo(NO_GPU)
        raise typer.Exit(2)
    card = torch.cuda.get_device_name()
    console.print(f"[bold]{card}")
    notebook = Notebook.opened(out / f"{slug(card)}-cuda.json", anew=step is None)
    work = {
        "tests": steps.tests,
        "memcheck": lambda: steps.watched("memcheck"),
        "racecheck": lambda: steps.watched("racecheck"),
        "limits": lambda: steps.measure_limits(notebook, console),
        "contest": lambda: steps.hold_contest(notebook, names(quick), Rules(), console),
        "training": lambda: steps.train(notebook, console),
    }
    chosen = step or [name for name in STEPS if not (skip_tests and name == "tests")]
    outcomes = [steps.taken(name, work[name], console) for name in STEPS if name in chosen]
    if notebook.results.limit.bandwidth:
        _show(notebook.results, console)
        report = f"python -m bench report {notebook.path}"
        console.print(f"results in {notebook.path}; `{report}` shows them", highlight=False, soft_wrap=True)
    console.print(_ended(outcomes))
    raise typer.Exit(1 if any(outcome.state == "failed" for outcome in outcomes) else 0)


def _show(results: Results, console: Console) -> None:
    """The targets, and what is furthest below them."""
    console.rule("[bold]targets")
    found = targets(results)
    console.print(to_rich(overview(found)), to_rich(worst_events(found, results)))


def _ended(outcomes: list[Outcome]) -> Table:
    """How each step went."""
    table = Table("step", "ended", "after", title="Steps", title_justify="left")
    for outcome in outcomes:
        ended = f"{outcome.state}: {outcome.why}" if outcome.why else outcome.state
        table.add_row(outcome.step, ended, f"{outcome.seconds:.0f} s")
    return table


def _console() -> Console:
    """A log has no width of its own, and the tables are wide."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)


if __name__ == "__main__":
    app(prog_name="python -m bench.gpu")
