"""``fastconv bench training race | record | learned | table``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fastconv import machine
from fastconv.models.screen import screen

app = typer.Typer(no_args_is_help=True, help="Whole epochs of fastconv.models's networks: plain torch beside fastconv.")


@app.command()
def race(
    network: Annotated[list[str] | None, typer.Option("--network", help="Network, repeatable. Default: all.")] = None,
    contestant: Annotated[
        list[str] | None,
        typer.Option(
            "--contestant", help="Contestant, repeatable: torch, torch-fused, or a backend. Default: numba and these."
        ),
    ] = None,
    dataset: Annotated[str, typer.Option(help="As of `fastconv models train`.")] = "mnist",
    data_dir: Annotated[Path | None, typer.Option(envvar="FASTCONV_DATA", help="As there.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each contestant. Default: one a core.")] = None,
    seconds: Annotated[
        float, typer.Option(min=1.0, help="Seconds that each trains a network at most; longer epochs are reckoned.")
    ] = 20.0,
    out: Annotated[Path, typer.Option(help="File of results.")] = Path("bench/results/latest-training.json"),
) -> None:
    """Train an epoch of each network with each contestant, in turns, and write a file of results."""
    from fastconv.bench import environment
    from fastconv.bench.report.grid import to_rich
    from fastconv.bench.training.contest import Rules, hold
    from fastconv.bench.training.contestants import DEFAULT
    from fastconv.bench.training.results import TrainingResults, save
    from fastconv.bench.training.table import training_table
    from fastconv.models import networks

    console = screen()
    for name in network or []:
        networks.load(name)
    busy = environment.busy_share()
    if busy is not None and busy > environment.BUSY:
        console.print(f"warning: others use {busy:.0%} of this machine; the figures will be theirs too")
    rules = Rules(threads or machine.usable_cores(), seconds)
    described = environment.describe(["fastconv.numba", "torch"], rules.threads)
    results = TrainingResults(described, [])
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("")

        def tell(what: str) -> None:
            progress.update(task, description=what)

        races = hold(network or networks.names(), contestant or DEFAULT, dataset, data_dir, rules, tell)
        try:
            for found in races:
                results.races.append(found)
                save(results, out)
        except KeyboardInterrupt:
            console.print(f"stopped after {len(results.races)} networks; they are kept")
    console.print(to_rich(training_table(results, [])))
    for found in results.races:
        for name, trouble in found.troubles.items():
            console.print(f"{found.network}, {name}: {trouble}")
    console.print(f"results in {out}")


@app.command()
def record(
    network: Annotated[str, typer.Argument(help="As of `fastconv models train`.")] = "record",
    backend: Annotated[str, typer.Option(help="As there.")] = "numba",
    seeds: Annotated[int, typer.Option(min=1, help="Number of trainings, with the seeds from 0 on.")] = 5,
    dataset: Annotated[str, typer.Option(help="As there.")] = "mnist",
    data_dir: Annotated[Path | None, typer.Option(envvar="FASTCONV_DATA", help="As there.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads. Default: one a core.")] = None,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("bench/results/latest-record.json"),
) -> None:
    """Train a network by its recipe from several seeds, and say what it took from loaded data to tested network."""
    from fastconv.bench.training import record as module

    console = screen()
    made = []
    for one in module.attempts(network, backend, seeds, dataset, data_dir, threads or machine.usable_cores()):
        made.append(one)
        console.print(f"seed {one.seed}: {one.accuracy:.2%} in {one.seconds:.1f} s")
    module.save(made, out)
    console.print(module.sentence(made), soft_wrap=True, highlight=False)


@app.command()
def learned(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of `fastconv models train`.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("bench/results/latest-learned.json"),
) -> None:
    """Collect the accuracies in the logs of training runs."""
    from fastconv.bench.training import learned as module

    found = [module.learned(run) for run in runs]
    module.save(found, out)
    screen().print(f"{len(found)} runs in {out}")


@app.command()
def table(
    races: Annotated[Path, typer.Argument(help="File of `race`.")],
    accuracies: Annotated[Path, typer.Argument(help="File of `learned`.")],
    attempts: Annotated[Path | None, typer.Argument(help="File of `record`.")] = None,
    pages: Annotated[bool, typer.Option("--pages", help="Tables of README.md and docs/, made anew instead.")] = False,
) -> None:
    """Show what the networks learned and what their epochs take, or put it into the pages of a checkout."""
    from fastconv.bench.report.grid import to_markdown, to_rich
    from fastconv.bench.report.markers import rewrite_pages
    from fastconv.bench.training import learned as module
    from fastconv.bench.training import record, results
    from fastconv.bench.training.table import training_table

    grid = training_table(results.load(races), module.load(accuracies))
    said = [record.sentence(record.load(attempts))] if attempts is not None else []
    console = screen()
    if pages:
        written = rewrite_pages({"training": lambda: "\n\n".join([to_markdown(grid), *said])})
        console.print(*written, sep=", ", highlight=False)
    else:
        console.print(to_rich(grid), *said, sep="\n")
