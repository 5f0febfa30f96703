"""``fastconv bench gpu``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

STEPS = ("tests", "memcheck", "racecheck", "limits", "contest", "training")
NO_GPU = (
    "torch finds no NVIDIA GPU here; with one this would run tests/gpu, compute-sanitizer, the contest with cuDNN, the "
    "card's limits and an epoch of LeNet-5, and say which targets are met"
)


def main(
    out: Annotated[Path, typer.Option(help="Folder for the file of results.")] = Path("bench/results"),
    quick: Annotated[bool, typer.Option("--quick", help="A contest without the single rungs of the ladder.")] = False,
    skip_tests: Annotated[bool, typer.Option("--skip-tests", help="All but tests/gpu.")] = False,
    step: Annotated[
        list[str] | None,
        typer.Option(help=f"Step, repeatable: {', '.join(STEPS)}. What it finds is added to the card's file."),
    ] = None,
    show: Annotated[
        Path | None, typer.Option(help="File of results to show, in place of measuring; needs no GPU.")
    ] = None,
) -> None:
    """Test, watch and time the backend `cuda` on this machine's NVIDIA GPU, and say which targets are met.

    Exit status: 0, 1 if a step failed, 2 if there is no GPU.
    """
    import torch
    from rich.text import Text

    from fastconv.bench.devices.cuda_limits import slug
    from fastconv.bench.gpu import steps, summary
    from fastconv.bench.results import load
    from fastconv.models.screen import screen

    strange = set(step or ()) - set(STEPS)
    if strange:
        raise typer.BadParameter(f"no step is called {', '.join(sorted(strange))}; they are {', '.join(STEPS)}")
    console = screen()
    if show is not None:
        summary.show(load(show), console)
        return
    if not torch.cuda.is_available():
        typer.echo(NO_GPU)
        raise typer.Exit(2)
    card = torch.cuda.get_device_name()
    console.print(Text(card, style="bold"))
    notebook = steps.Notebook.opened(out / f"{slug(card)}-cuda.json", anew=step is None)
    work = {
        "tests": steps.tests,
        "memcheck": lambda: steps.watched("memcheck"),
        "racecheck": lambda: steps.watched("racecheck"),
        "limits": lambda: steps.measure_limits(notebook, console),
        "contest": lambda: steps.hold_contest(notebook, steps.names(quick), steps.RULES, console),
        "training": lambda: steps.train(notebook, console),
    }
    chosen = step or [name for name in STEPS if not (skip_tests and name == "tests")]
    outcomes = [steps.taken(name, work[name], console) for name in STEPS if name in chosen]
    if notebook.results.limit.bandwidth:
        summary.show(notebook.results, console)
        report = f"fastconv bench report {notebook.path}"
        console.print(f"results in {notebook.path}; `{report}` shows them", highlight=False, soft_wrap=True)
    console.print(steps.ended(outcomes))
    raise typer.Exit(1 if any(outcome.state == "failed" for outcome in outcomes) else 0)
