"""The command line: ``python -m models train | compare | demo | summary | list``, and those of :mod:`.inspection`.

torch, fastconv and the data sets are imported by the commands that need them, so that ``--help`` is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from models import networks
from models.data import DATASETS, check_name
from models.errors import ModelsError
from models.inspection import commands
from models.recipes import ImageShape


class _OneLineErrors(TyperGroup):
    """Ends with one line and an exit code, not a traceback, where the person can do something about it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModelsError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train small image classifiers through fastconv's layers, on any of its backends.",
)

NetworkName = Annotated[
    str, typer.Argument(metavar="NETWORK", help=f"One of: {', '.join(networks.names())}; see `list`.")
]
DatasetName = Annotated[str, typer.Option("--dataset", help=f"One of: {', '.join(DATASETS)}; see `list`.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        envvar="FASTCONV_DATA",
        help="Folder of the four IDX files, plain or gzipped, instead of the cache and the network.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the initial weights and the batches.")]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Of torch and fastconv, at most one a core; NumPy's matrix product, im2col's, always has one.",
        show_default="their choice",
    ),
]


def _recipe_option(help: str) -> Any:
    return typer.Option(help=help, show_default="the network's recipe")


@app.command()
def train(
    network: NetworkName,
    backend: Annotated[
        str | None,
        typer.Option(help="Runs convolution and pooling; see `list`.", show_default="fastconv's choice"),
    ] = None,
    dataset: DatasetName = "mnist",
    data_dir: DataDir = None,
    epochs: Annotated[int | None, _recipe_option("Passes over the training images.")] = None,
    batch_size: Annotated[int | None, _recipe_option("Images a step.")] = None,
    optimizer: Annotated[str | None, _recipe_option("adam or sgd.")] = None,
    learning_rate: Annotated[float | None, _recipe_option("Step size of the optimizer.")] = None,
    momentum: Annotated[float | None, _recipe_option("Of SGD, 0 to below 1.")] = None,
    seed: Seed = 0,
    threads: Threads = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(help="Folder for the run, empty or new.", show_default="runs/NETWORK-BACKEND-TIME"),
    ] = None,
) -> None:
    """Train NETWORK and keep configuration, log and weights in a run folder."""
    check_name(dataset)
    from models.data import load
    from models.training.settings import settings
    from models.training.tables import training_table
    from models.training.train import train

    console = Console()
    chosen = settings(
        network,
        backend,
        seed,
        threads,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        momentum=momentum,
    )
    data = load(dataset, data_dir, console)
    run = train(chosen, data, console, run_dir)
    console.print(training_table(chosen, data, run))


@app.command()
def compare(
    network: NetworkName,
    dataset: DatasetName = "mnist",
    data_dir: DataDir = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="Training time of each backend, in seconds.")] = 8.0,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Train NETWORK with every backend, from one seed and on the same batches, and set them side by side."""
    check_name(dataset)
    from models.data import load
    from models.training.compare import compare
    from models.training.settings import settings
    from models.training.tables import comparison_report

    console = Console()
    chosen = settings(network, seed=seed, threads=threads)
    data = load(dataset, data_dir, console)
    console.print(comparison_report(compare(chosen, data, seconds, console)))


@app.command()
def demo(data_dir: DataDir = None) -> None:
    """Train LeNet-5 on real digits, then compare the backends: one to three minutes on two cores."""
    from models.demo import demo

    demo(data_dir, Console())


@app.command()
def summary(
    network: NetworkName,
    shape: Annotated[str, typer.Option(help="Of an image: channels x height x width.")] = "1x28x28",
) -> None:
    """Show the layers of NETWORK: results, parameters, multiply-adds."""
    from models.summary import summary_table

    Console().print(summary_table(network, _image_shape(shape)))


def _image_shape(text: str) -> ImageShape:
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise ModelsError(f"the shape is {text!r}; write it as channels x height x width, such as 3x64x64")
    channels, height, width = map(int, parts)
    return channels, height, width


@app.command("list")
def list_all() -> None:
    """List the networks with their recipes, the trained runs, the data sets and the backends."""
    import fastconv
    from models.inspection.kept import kept_table

    console = Console()
    table = Table("network", "layers", "recipe", "source", title="Networks", title_justify="left")
    for name in networks.names():
        network = networks.load(name)
        recipe = network.recipe
        training = f"{recipe.optimizer} {recipe.learning_rate:g}, batch {recipe.batch_size}"
        table.add_row(name, network.summary, f"{training}, {recipe.epochs} epochs", network.source)
    console.print(table)
    console.print(kept_table())
    table = Table("data set", "what it is", title="Data sets (--dataset)", title_justify="left")
    for row in DATASETS.items():
        table.add_row(*row)
    console.print(table)
    table = Table("backend", "what it is", "here", title="Backends (--backend)", title_justify="left")
    for backend in fastconv.backends():
        here = "available" if backend.available else f"not available: {backend.reason}"
        table.add_row(backend.name, backend.summary, here)
    console.print(table)


commands.register(app)
