"""``fastconv bench networks`` and ``networks table``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fastconv import machine
from fastconv.bench.networks.vision import INSTALL, NetworkError
from fastconv.models.screen import screen

app = typer.Typer(
    help=f"Whole networks: torch, its peers and fastconv, in inference and training.\n\nInstall first: {INSTALL}"
)
MODES = ("inference", "training")
BATCHES = {"inference": (1, 8), "training": (8,)}


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    networks: Annotated[
        list[str] | None,
        typer.Option(
            help="Network, repeatable, or with commas: one of torchvision's classifiers, or models.NAME of fastconv's. "
            "Default: ten of torchvision's and all of fastconv's."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Network of your own: package.module:function, which returns the module.")
    ] = None,
    shape: Annotated[
        str | None, typer.Option(help="Sizes of your own network's input: 2,3,112,112, the batch first.")
    ] = None,
    batch: Annotated[
        list[str] | None, typer.Option(help="Batch, repeatable, or with commas. Default: 1 and 8, and 8 for training.")
    ] = None,
    mode: Annotated[
        list[str] | None, typer.Option(help=f"Mode, repeatable: {', '.join(MODES)}. Default: both.")
    ] = None,
    peers: Annotated[
        list[str] | None,
        typer.Option(help="Peer, repeatable, or `none`. Default: all that are here."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each contestant. Default: one a core.")] = None,
    bursts: Annotated[int, typer.Option(min=1, help="Turns of each contestant.")] = 9,
    seconds: Annotated[float, typer.Option(min=0.001, help="Seconds of a turn.")] = 0.3,
    out: Annotated[Path, typer.Option(help="File of results.")] = Path("bench/results/latest-networks.json"),
) -> None:
    """Run whole networks with every contestant in turns and write a file of results; Ctrl-C keeps what is finished."""
    if context.invoked_subcommand:
        return
    from fastconv.bench import environment
    from fastconv.bench.event import Rules
    from fastconv.bench.networks import contestants
    from fastconv.bench.networks.contest import hold
    from fastconv.bench.networks.results import Event, NetworkResults, save
    from fastconv.bench.networks.table import line
    from fastconv.bench.results import check_writable

    console = screen()
    modes = _chosen(mode, "mode", MODES) or list(MODES)
    helpers = _chosen(peers, "peer", [*contestants.installed(), "none"]) or contestants.installed()
    helpers = [name for name in helpers if name != "none"]
    sizes = _numbers(batch, "--batch")
    subjects = _subjects(networks, model, shape)
    own = _numbers([shape], "--shape")[:1] if shape else []
    events = [
        (Event(each, size, subject.name), subject, contestants.taking_part(each, helpers))
        for each in modes
        for subject in subjects
        for size in sizes or (own if subject.name == model else BATCHES[each])
    ]
    check_writable(out)
    busy = environment.busy_share()
    if busy is not None and busy > environment.BUSY:
        console.print(f"warning: others use {busy:.0%} of this machine; the figures will be theirs too")
    rules = Rules(threads or machine.usable_cores(), bursts, seconds)
    packages = ["torch", *(name for name in helpers if name in contestants.forwards_only())]
    described = environment.describe(packages, rules.threads)
    results = NetworkResults(described, [])
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(events))

        def tell(what: str) -> None:
            progress.update(task, description=what)

        try:
            for records in hold(events, rules, tell):
                results.records.extend(records)
                save(results, out)
                progress.update(task, advance=1)
                console.print(line(records), highlight=False, markup=False)
        except KeyboardInterrupt:
            done = len({record.event for record in results.records})
            console.print(f"stopped after {done} of {len(events)} events; they are kept")
    if results.records:
        show(results, console)
        console.print(f"results in {out}; `fastconv bench networks table {out}` shows them", markup=False)


@app.command()
def table(
    files: Annotated[list[Path], typer.Argument(help="Files of results; of several, the last one's record counts.")],
    pages: Annotated[bool, typer.Option("--pages", help="Tables of README.md and docs/, made anew instead.")] = False,
) -> None:
    """Show the tables of files of results, or put them into the pages of a checkout."""
    from fastconv.bench.networks.results import joined, load
    from fastconv.bench.networks.table import MEANING, means, sentence, tables, troubles
    from fastconv.bench.report.grid import to_markdown
    from fastconv.bench.report.markers import rewrite_pages

    results = joined([load(path) for path in files])
    if not pages:
        return show(results, screen())
    *times, memory = [to_markdown(grid) for grid in tables(results)]
    failures = "\n".join(f"- {each}" for each in troubles(results))
    text = "\n\n".join(part for part in [sentence(results), MEANING, *times, failures, memory] if part)
    short = f"{sentence(results)}\n\n{to_markdown(means(results))}"
    written = rewrite_pages({"networks": lambda: text, "networks-means": lambda: short})
    return screen().print(*written, sep=", ", highlight=False)


def show(results: Any, console: Console) -> None:
    """Print the tables, and what failed."""
    from fastconv.bench.networks.table import MEANING, sentence, tables, troubles
    from fastconv.bench.report.grid import to_rich

    console.print(sentence(results), MEANING, sep="\n", highlight=False, markup=False)
    for grid in tables(results):
        console.print(to_rich(grid))
    for each in troubles(results):
        console.print(each, highlight=False, markup=False, soft_wrap=True)


def _subjects(networks: list[str] | None, model: str | None, shape: str | None) -> list[Any]:
    from fastconv.bench.networks import zoo

    names = _words(networks) or ([] if model else zoo.default())
    chosen = [zoo.subject(name) for name in dict.fromkeys(names)]
    if (model is None) != (shape is None):
        raise NetworkError("--model and --shape go together: --model package:function --shape 2,3,112,112")
    if model is not None and shape is not None:
        sizes = _numbers([shape], "--shape")
        if len(sizes) < 2:
            raise NetworkError(f"--shape {shape}: a batch and the sizes of one input are needed, such as 2,3,112,112")
        chosen.append(zoo.own(model, tuple(sizes[1:])))
    return chosen


def _words(given: list[str] | None) -> list[str]:
    return [word for each in given or () for word in each.replace(",", " ").split()]


def _chosen(given: list[str] | None, what: str, known: Any) -> list[str]:
    words = _words(given)
    strange = [word for word in words if word not in known]
    if strange:
        raise NetworkError(f"no {what} is called {', '.join(strange)}; there are {', '.join(known)}")
    return words


def _numbers(given: list[str] | None, option: str) -> list[int]:
    words = _words(given)
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise NetworkError(f"{option} {', '.join(words)}: whole numbers from 1 on are needed, with commas between them")
    return [int(word) for word in words]
