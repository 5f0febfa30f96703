"""The command line of ``fastconv bench``; its ``--help`` lists the commands."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from typer.core import TyperGroup

from fastconv import machine
from fastconv.bench.contestants import CPU, CUDA
from fastconv.bench.gpu.cli import main as gpu
from fastconv.bench.networks.cli import app as networks
from fastconv.bench.networks.vision import NetworkError
from fastconv.bench.problems import OPERATIONS, PROBLEMS, SETS, Problem, ProblemError, select
from fastconv.bench.results import Results, ResultsError, check_writable, load, save
from fastconv.bench.training.cli import app as training
from fastconv.layer import FIELDS
from fastconv.models.errors import ModelsError
from fastconv.models.screen import prepare_process, screen


class BenchError(Exception):
    """What the person at the keyboard can mend; shown in one line."""


class _OneLineErrors(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        prepare_process()
        try:
            return super().invoke(ctx)
        except (BenchError, ProblemError, ResultsError, ModelsError, NetworkError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Time every backend and every peer on one table of problems, beside the machine's own limits.",
)
app.add_typer(training, name="training")
app.add_typer(networks, name="networks")
app.command("gpu")(gpu)
RESULTS = Path("bench/results")

Sets = Annotated[list[str] | None, typer.Option("--set", help=f"Set of problems, repeatable: all, {', '.join(SETS)}.")]
Custom = Annotated[
    list[str] | None,
    typer.Option(
        "--problem",
        help='Problem of your own, repeatable: "N=8 C=64 H=56 K=128 R=3 stride=2x1 padding=1", '
        f"or with pool=max; fields: {', '.join(FIELDS)}.",
    ),
]
Operations = Annotated[
    list[str] | None, typer.Option("--op", help=f"Operation, repeatable: {', '.join(OPERATIONS)}. Default: all.")
]


@app.command()
def run(
    sets: Sets = None,
    problem: Custom = None,
    op: Operations = None,
    device: Annotated[str, typer.Option(help=f"Device: {CPU}, or {CUDA} for an NVIDIA GPU.")] = CPU,
    contestant: Annotated[
        list[str] | None,
        typer.Option("--contestant", help="Contestant, repeatable; see `list`. Default: all here."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each contestant. Default: one a core.")] = None,
    bursts: Annotated[int, typer.Option(min=1, help="Turns of each contestant.")] = 9,
    seconds: Annotated[float, typer.Option(min=0.001, help="Seconds of a turn.")] = 0.05,
    out: Annotated[Path | None, typer.Option(help="File of results. Default: a new one in bench/results.")] = None,
) -> None:
    """Hold the contest and write a file of results; Ctrl-C keeps what is there."""
    from fastconv.bench import contestants, environment
    from fastconv.bench.contest import hold, surroundings
    from fastconv.bench.event import Rules
    from fastconv.bench.report.grid import to_rich
    from fastconv.bench.report.listings import event
    from fastconv.bench.report.races import races

    console = screen()
    path = out or RESULTS / f"{datetime.now():%Y%m%d-%H%M%S}.json"
    check_writable(path)
    problems = _problems(sets, problem)
    operations = _operations(op)
    known = contestants.entries(_device(device))
    names = _known_contestants(contestant, list(known)) or [name for name, entry in known.items() if not entry.named]
    rules = Rules(threads or machine.usable_cores(), bursts, seconds)
    busy = environment.busy_share()
    if busy is not None and busy > environment.BUSY:
        console.print(f"warning: others use {busy:.0%} of this machine; the figures will be theirs too")
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        events = sum(operation in p.operations for p in problems for operation in operations)
        task = progress.add_task("the machine's limits", total=events + 1)
        limits, described = surroundings(names, rules.threads, device)

        def tell(what: str) -> None:
            progress.update(task, description=what, advance=1)

        results = Results(described, limits, [])
        try:
            results.records.extend(hold(problems, operations, names, rules, tell, device))
        except KeyboardInterrupt:
            console.print(f"stopped after {len(results.by_key())} of {events} events; they are kept")
        finally:
            save(results, path)
    for race in races(results, with_algorithms=True):
        console.print(to_rich(event(race)))
    console.print(_troubles(results))
    console.print(f"results in {path}; `fastconv bench report {path}` shows them", soft_wrap=True)


@app.command()
def report(
    files: Annotated[list[Path], typer.Argument(help="Files of results; of several, the last one's record counts.")],
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("bench/report-out"),
    pages: Annotated[
        bool, typer.Option("--pages", help="Tables of README.md and docs/ made anew between their markers, too.")
    ] = False,
) -> None:
    """Write Markdown, pictures and one HTML page from files of results."""
    from fastconv.bench.report import keep_picture, rewrite_tables, write_report

    console = screen()
    results = _joined([load(path) for path in files])
    for path in write_report(results, out):
        console.print(str(path), highlight=False, soft_wrap=True)
    if pages:
        written = rewrite_tables(results)
        keep_picture(out, Path("docs"))
        console.print(*written, sep=", ", highlight=False)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="File of results.")],
    after: Annotated[Path, typer.Argument(help="File of results.")],
) -> None:
    """Show what changed between two files of results, with a verdict where that is outside the spread."""
    from fastconv.bench.report.changes import to_table
    from fastconv.bench.report.compare import compare

    screen().print(to_table(compare(load(before), load(after))))


@app.command()
def choices(
    files: Annotated[list[Path], typer.Argument(help="Files of results; of several, the last one's record counts.")],
) -> None:
    """Show where a planner's choice was slower than another of its algorithms, such as numba:direct.

    Algorithms take part in a run where --contestant names them, as fastconv.numba:direct.
    """
    from fastconv.bench.choices import choices as made
    from fastconv.bench.choices import to_table

    found = made(_joined([load(path) for path in files]))
    if not found:
        raise BenchError(
            "no backend took part by its own choice and with two of its algorithms; name them by --contestant"
        )
    screen().print(to_table(found))


@app.command()
def calls(
    size: Annotated[int, typer.Option(min=4, help="Rows and columns of the image.")] = 8,
    channels: Annotated[int, typer.Option(min=1, help="Channels of the image and of the result.")] = 1,
    count: Annotated[int, typer.Option("--calls", min=1, help="Calls of a turn.")] = 2000,
    turns: Annotated[int, typer.Option(min=1, help="Turns of each contestant; its fastest counts.")] = 15,
) -> None:
    """Show what a call costs besides the kernel: arrays, tensors and plans, torch and onnxruntime, in turns.

    A second table has both passes of layers in training, with the ratio of torch's time to ours, and a third the layers
    of networks for digits at batch 1, with that of onnxruntime's.
    """
    from fastconv.bench import calls

    problem = size, channels, count, turns
    screen().print(calls.call_table(*problem), calls.training_table(*problem), calls.layer_table(count, turns))


@app.command()
def starts(
    runs: Annotated[int, typer.Option(min=1, help="Processes that find their kernels; the median counts.")] = 7,
    cold: Annotated[int, typer.Option(min=0, help="Processes that compile all they need.")] = 1,
) -> None:
    """Show what a new process waits for before its first result: a convolution, and a training step of LeNet-5."""
    from fastconv.bench.starts import measure

    table = Table("start", "kernels found", "seconds", title="Starts of processes", title_justify="left")
    for start in measure(runs, cold):
        if start.seconds:
            table.add_row(start.what, start.found, f"{start.median:.2f}")
    screen().print(table)


@app.command()
def ladder(
    runs: Annotated[int, typer.Option(min=1, help="Times that all is measured; of each rung the fastest counts.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.0, help="Seconds that each rung is repeated in a run.")] = 0.6,
    out: Annotated[Path, typer.Option(help="File of results.")] = RESULTS / "ladder.json",
    page: Annotated[Path, typer.Option(help="Page whose figures are made anew.")] = Path("docs/cpu.md"),
) -> None:
    """Measure the CPU's ladder, and make the figures and pictures of docs/cpu.md anew."""
    from fastconv.bench.report.ladder import merged, rewrite_page
    from fastconv.ladder.command import assembly, layer, pictures
    from fastconv.ladder.command.results import save as save_ladder
    from fastconv.ladder.command.run import run as run_ladder

    check_writable(out)
    found = merged([run_ladder(layer.DEFAULT, None, None, seconds=seconds, tiles=True) for _ in range(runs)])
    found.code = [assembly.code(number, layer.DEFAULT) for number in ("02", "03", "04", "05", "06", "11")]
    save_ladder(found, out)
    pictures.draw(found, page.parent)
    rewrite_page(found, page)
    screen().print(f"{out}, {page} and its pictures", soft_wrap=True)


@app.command("list")
def list_all(sets: Sets = None) -> None:
    """List contestants and sets, or the problems of a set."""
    from fastconv.bench import contestants

    console = screen()
    if sets:
        table = Table("problem", "kind", "GFLOP", "MB", title=f"Problems of {', '.join(sets)}", title_justify="left")
        for each in select(sets):
            flops, moved = each.flops("forward") / 1e9, each.bytes("forward") / 1e6
            table.add_row(each.name, each.kind, f"{flops:.3g}", f"{moved:.3g}")
        console.print(table)
        return
    console.print(f"contestants: {', '.join(contestants.entries())}", highlight=False)
    counts = ", ".join(f"{name} ({sum(name in p.sets for p in PROBLEMS)})" for name in SETS)
    console.print(f"sets: all ({sum('smoke' not in p.sets for p in PROBLEMS)}), {counts}", highlight=False)
    console.print(f"operations: {', '.join(OPERATIONS)}", highlight=False)


def _problems(sets: list[str] | None, custom: list[str] | None) -> list[Problem]:
    chosen = select(sets or ([] if custom else ["mnist"]), custom or [])
    if not chosen:
        raise BenchError("no problems: name a --set or a --problem")
    return chosen


def _operations(wanted: list[str] | None) -> list[str]:
    strange = set(wanted or ()) - set(OPERATIONS)
    if strange:
        raise BenchError(f"no operation is called {', '.join(sorted(strange))}; they are {', '.join(OPERATIONS)}")
    return wanted or list(OPERATIONS)


def _device(wanted: str) -> str:
    import torch

    if wanted not in (CPU, CUDA):
        raise BenchError(f"no device is called {wanted}; they are {CPU} and {CUDA}")
    if wanted == CUDA and not torch.cuda.is_available():
        raise BenchError(f"--device {CUDA}: torch finds no NVIDIA GPU here")
    return wanted


def _known_contestants(wanted: list[str] | None, known: list[str]) -> list[str]:
    strange = [name for name in wanted or () if name not in known]
    if strange:
        raise BenchError(f"no contestant is called {', '.join(strange)}; here are {', '.join(known)}")
    return wanted or []


def _joined(files: list[Results]) -> Results:
    """Several files as one: the last file's machine and limits, and of each record the last."""
    records = {(r.problem, r.operation, r.contestant): r for results in files for r in results.records}
    return Results(files[-1].environment, files[-1].limit, list(records.values()))


def _troubles(results: Results) -> Table | str:
    """Who did not run and why, wrong results first."""
    rows: dict[tuple[str, str], list[str]] = {}
    for record in results.records:
        if record.trouble:
            rows.setdefault((record.contestant, record.trouble), []).append(f"{record.problem} {record.operation}")
    if not rows:
        return "every contestant ran everything"
    table = Table("contestant", "did not run because", "where", title="Not timed", title_justify="left")
    for (name, trouble), where in sorted(rows.items(), key=lambda row: not row[0][1].startswith("WRONG")):
        places = where[0] if len(where) == 1 else f"{len(where)} events, {where[0]} first"
        table.add_row(name, trouble, places)
    return table
