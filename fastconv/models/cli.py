"""The command line: ``fastconv models train | compare | profile | demo | summary | list``, and :mod:`.inspection`'s.

torch, fastconv and the data sets are imported by the commands that need them, so that ``--help`` is quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from fastconv.models import networks
from fastconv.models.data import DATASETS, check_name
from fastconv.models.data.options import Channels, DataDir, DatasetName, Size, given
from fastconv.models.errors import ModelsError
from fastconv.models.inspection import commands
from fastconv.models.recipes import MOST_VALUES, ImageShape
from fastconv.models.screen import prepare_process, screen
from fastconv.models.training.schedules import SCHEDULES


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except ModelsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None


class _OneLineErrors(TyperGroup):
    """Ends with one line and an exit code, not a traceback, for errors that the user can do something about."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with _one_line_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        prepare_process()
        with _one_line_errors():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train small image classifiers through fastconv's layers, on any of its backends.",
)

NetworkName = Annotated[
    str, typer.Argument(metavar="NETWORK", help=f"Network: {', '.join(networks.names())}; see `list`.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the initial weights and the batches.")]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads of torch and fastconv, at most one a core; NumPy's matrix product, im2col's, always has one.",
        show_default="their choice",
    ),
]


def _recipe_option(help: str) -> Any:
    return typer.Option(help=help, show_default="the network's recipe")


@app.command()
def train(
    ctx: typer.Context,
    network: Annotated[
        str | None,
        typer.Argument(
            metavar="[NETWORK]", help=f"Network: {', '.join(networks.names())}; see `list`.", show_default=False
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Backend of convolutions and poolings; see `list`. A layer may have its own: numba,conv2=torch.",
            show_default="fastconv's choice",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help=f"Data set: {', '.join(DATASETS)}; see `list`.", show_default="mnist")
    ] = None,
    data_dir: DataDir = None,
    size: Size = None,
    channels: Channels = None,
    epochs: Annotated[int | None, _recipe_option("Passes over the training images.")] = None,
    batch_size: Annotated[int | None, _recipe_option("Images a step, of all processes together.")] = None,
    optimizer: Annotated[str | None, _recipe_option("Optimiser: adam or sgd.")] = None,
    learning_rate: Annotated[float | None, _recipe_option("Step size of the optimizer, at its highest.")] = None,
    momentum: Annotated[float | None, _recipe_option("Momentum of SGD, 0 to below 1.")] = None,
    schedule: Annotated[str | None, _recipe_option(f"Schedule of the learning rate: {', '.join(SCHEDULES)}.")] = None,
    weight_decay: Annotated[
        float | None, _recipe_option("Weight decay, decoupled for adam (AdamW), in the gradient for sgd.")
    ] = None,
    shift: Annotated[
        int | None, _recipe_option("Pixels along each axis by which training images are moved at most.")
    ] = None,
    rotation: Annotated[float | None, _recipe_option("Degrees by which training images are turned at most.")] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            help="Share of the training images held out; the best epoch's weights are kept.", show_default="0"
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Epochs in a row after which the training ends, with no better validation loss.",
            show_default="train all epochs",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Precision: float32, float64, or mixed with bfloat16 or float16.", show_default="float32"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device: cpu or cuda.", show_default="cpu")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Seed of all that is left to chance.", show_default="0")
    ] = None,
    threads: Threads = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(help="Folder for the run, empty or new.", show_default="runs/NETWORK-BACKEND-TIME"),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Folder of a run to go on with, its settings and its data; with it only --backend, --device, "
            "--threads, --epochs, --dataset and --data-dir can be given.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train NETWORK and keep configuration, log, weights and a checkpoint in a run folder.

    Ctrl-C ends it after the step under way; --resume then goes on as if it had never been stopped, and after a kill
    from the last epoch. Under torchrun several processes train together. docs/training.md tells more.
    """
    if dataset is not None:
        check_name(dataset)
    from fastconv.models.training.command import run_train

    run_train(
        *(network, dataset, given(ctx, data_dir), (size, channels), run_dir, resume),
        {
            "backend": backend,
            "seed": seed,
            "threads": threads,
            "validation": validation,
            "patience": patience,
            "precision": precision,
            "device": device,
            "epochs": epochs,
            "batch_size": batch_size,
            "optimizer": optimizer,
            "learning_rate": learning_rate,
            "momentum": momentum,
            "schedule": schedule,
            "weight_decay": weight_decay,
            "shift": shift,
            "rotation": rotation,
        },
    )


@app.command()
def compare(
    network: NetworkName,
    dataset: DatasetName = "mnist",
    data_dir: DataDir = None,
    size: Size = None,
    channels: Channels = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="Backend to compare, as `train` takes it; give it again for each other.", show_default="every backend"
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="Training time of each backend, in seconds.")] = 8.0,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Train NETWORK with each backend, from one seed and on the same batches, and set them side by side."""
    check_name(dataset)
    from fastconv.models.data import load
    from fastconv.models.training.compare import compare
    from fastconv.models.training.settings import settings
    from fastconv.models.training.tables import comparison_report

    console = screen()
    chosen = settings(network, seed=seed, threads=threads)
    data = load(dataset, data_dir, console, size, channels)
    console.print(comparison_report(compare(chosen, data, seconds, console, backend or ())))


@app.command()
def profile(
    network: NetworkName,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="Backend to profile, as `train` takes it; give it again for each other.",
            show_default="fastconv's choice and torch",
        ),
    ] = None,
    dataset: DatasetName = "mnist",
    data_dir: DataDir = None,
    size: Size = None,
    channels: Channels = None,
    steps: Annotated[int, typer.Option(help="Training steps to time, and again to record.")] = 100,
    separate: Annotated[
        bool, typer.Option("--separate", help="Layers that would run together called one by one, to tell them apart.")
    ] = False,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Show where the time of a training step of NETWORK goes: convolution, pooling, data and the rest."""
    check_name(dataset)
    from fastconv.models.data import load
    from fastconv.models.profiling.measure import profiles
    from fastconv.models.profiling.table import profile_table
    from fastconv.models.training.settings import settings

    console = screen()
    chosen = settings(network, seed=seed, threads=threads)
    backends = backend or dict.fromkeys((chosen.backend, "torch"))
    data = load(dataset, data_dir, console, size, channels)
    found = profiles(chosen, data, steps, console, list(backends), separate=separate)
    console.print(profile_table(chosen, data, found))


@app.command()
def demo(data_dir: DataDir = None) -> None:
    """Train LeNet-5 on real digits, then compare the backends: one to three minutes on two cores."""
    from fastconv.models.demo import demo

    demo(data_dir, screen())


@app.command()
def summary(
    network: NetworkName,
    shape: Annotated[str, typer.Option(help="Shape of an image: channels x height x width.")] = "1x28x28",
) -> None:
    """Show the layers of NETWORK: results, parameters, multiply-adds."""
    from fastconv.models.summary import summary_table

    screen().print(summary_table(network, _image_shape(shape)))


def _image_shape(text: str) -> ImageShape:
    parts = [part.strip() for part in text.lower().split("x")]
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 9 and int(part) for part in parts):
        raise ModelsError(f"the shape is {text!r}; write it as channels x height x width, such as 3x64x64")
    channels, height, width = map(int, parts)
    if channels * height * width > MOST_VALUES:
        raise ModelsError(f"the shape is {text!r}; an image has {MOST_VALUES:,} values at most")
    return channels, height, width


@app.command("list")
def list_all() -> None:
    """List the networks with their recipes, the trained runs, the data sets and the backends."""
    import fastconv
    from fastconv.models.inspection.kept import kept_table

    console = screen()
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
    table = Table(
        "backend",
        "what it is",
        "algorithms, as in numba:gemm",
        "here",
        title="Backends (--backend)",
        title_justify="left",
    )
    for backend in fastconv.backends():
        here = "available" if backend.available else f"not available: {backend.reason}"
        table.add_row(backend.name, backend.summary, " ".join(backend.options), here)
    console.print(table)
    console.print(
        "A layer may have a backend of its own: --backend numba,conv2=torch; `summary` has the layers' names."
    )


commands.register(app)
