"""The commands that look into a run: evaluate, predict, show, export, pack.

Like those of :mod:`fastconv.models.cli`, which registers them, they import heavy packages when they are called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fastconv.models.data import DATASETS, check_name
from fastconv.models.data.options import given
from fastconv.models.errors import ModelsError
from fastconv.models.screen import screen

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Folder of a run, or the name of one that comes along; see `list`.")
]
Backend = Annotated[
    str | None,
    typer.Option(
        help="Backend of convolutions and poolings; see `list`.", show_default="the run's, if it can run here"
    ),
]
TestData = Annotated[
    str | None,
    typer.Option("--dataset", help=f"Data set: {', '.join(DATASETS)}; see `list`.", show_default="the run's"),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        envvar="FASTCONV_DATA",
        help="Folder of the data set's files; the environment's counts only where the run knows none.",
        show_default="the run's",
    ),
]
AsIs = Annotated[
    bool, typer.Option("--as-is", help="Pictures resized and nothing else: no middle taken, no digit looked for.")
]
Out = Annotated[
    Path | None,
    typer.Option(help="PNG file to write.", show_default="in the run's folder, or here for a run that comes along"),
]

CONFUSION = "confusion.png"
LONGEST_NAME = 50
"""Characters of a data set's name in a file's, which may have 255 bytes."""

show = typer.Typer(no_args_is_help=True, help="Draw what is in a run: its filters, its feature maps, its training.")


def register(app: typer.Typer) -> None:
    """Put the commands on ``app``."""
    for command in (evaluate, predict, export, pack):
        app.command()(command)
    app.add_typer(show, name="show")


def evaluate(
    ctx: typer.Context,
    run: RunName,
    dataset: TestData = None,
    data_dir: DataDir = None,
    backend: Backend = None,
    out: Out = None,
) -> None:
    """Test RUN: accuracy, a table of the classes, and the confusion matrix as a PNG, named after data not RUN's own."""
    if dataset is not None:
        check_name(dataset)
    from fastconv.models.inspection.confusion import confusion_picture
    from fastconv.models.inspection.datasets import is_own, load_for
    from fastconv.models.inspection.evaluation import class_table, evaluate
    from fastconv.models.inspection.output import place, save_picture
    from fastconv.models.inspection.trained import open_run

    console = screen()
    trained = open_run(run, backend)
    path = place(trained, CONFUSION, out)
    named, fallback = given(ctx, data_dir)
    data = load_for(trained.facts, dataset, named, console, fallback)
    if out is None and not is_own(data, trained.facts, dataset, named):
        path = path.with_stem(f"{path.stem}-{data.name[:LONGEST_NAME]}")
    found = evaluate(trained, data, console)
    console.print(class_table(found))
    said = f"{data.name}: {found.correct:,} of {found.images:,} right, {found.accuracy:.2%}; mean loss {found.loss:.4f}"
    console.print(said, soft_wrap=True, highlight=False)
    save_picture(confusion_picture(found, f"{trained.facts.network} on {data.name}"), path)
    _say(console, "confusion matrix", path)


def predict(
    run: RunName,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures in any usual format.")],
    as_is: AsIs = False,
    backend: Backend = None,
    out: Out = None,
) -> None:
    """Tell what RUN takes pictures for, and show what the network saw of them.

    Pictures are read as those that RUN was trained on. For a network of digits one is made like MNIST's: light on dark,
    fitted into 20 x 20 of 28 x 28 pixels, its centre of mass in the middle; pen on paper will do.
    """
    from fastconv.models.inspection.output import place, save_picture
    from fastconv.models.inspection.prediction import predict, prediction_table
    from fastconv.models.inspection.prediction_picture import MOST, prediction_picture
    from fastconv.models.inspection.trained import open_run

    console = screen()
    trained = open_run(run, backend)
    path = place(trained, "prediction.png", out)
    found, errors = predict(trained, images, as_is, console)
    for error in errors:
        typer.echo(f"error: {error}", err=True)
    if found:
        console.print(prediction_table(found, trained.facts.classes))
        save_picture(prediction_picture(found, trained.facts.classes), path)
        _say(console, "what the network saw" if len(found) <= MOST else f"the first {MOST}", path)
    if errors:
        raise typer.Exit(1)


@show.command("filters")
def show_filters(run: RunName, out: Out = None) -> None:
    """The first convolution's filters, before and after training."""
    from fastconv.models.inspection.filters import filters_picture
    from fastconv.models.inspection.output import place, save_picture
    from fastconv.models.inspection.trained import open_run

    trained = open_run(run)
    path = place(trained, "filters.png", out)
    save_picture(filters_picture(trained), path)
    _say(screen(), "filters", path)


@show.command("features")
def show_features(
    ctx: typer.Context,
    run: RunName,
    image: Annotated[
        Path | None, typer.Argument(help="Picture in any usual format.", show_default="the first test image")
    ] = None,
    dataset: TestData = None,
    data_dir: DataDir = None,
    as_is: AsIs = False,
    backend: Backend = None,
    out: Out = None,
) -> None:
    """What each layer makes of an image: maps of convolutions and poolings, strips of dense layers."""
    if dataset is not None:
        check_name(dataset)
    from fastconv.models.inspection.features import features
    from fastconv.models.inspection.features_picture import features_picture
    from fastconv.models.inspection.output import place, save_picture
    from fastconv.models.inspection.subject import chosen_image
    from fastconv.models.inspection.trained import open_run

    console = screen()
    trained = open_run(run, backend)
    path = place(trained, "features.png", out)
    subject, name = chosen_image(trained, image, dataset, *given(ctx, data_dir), as_is, console)
    layers = features(trained.model, subject)
    title = f"{trained.facts.network}: {name}"
    save_picture(features_picture(trained.pixels(subject)[0], layers, trained.facts.classes, title), path)
    _say(console, f"features of {name}", path)


@show.command("curves")
def show_curves(run: RunName, out: Out = None) -> None:
    """Loss and accuracy by epoch."""
    from fastconv.models.inspection.curves import curves_picture
    from fastconv.models.inspection.log import read_log
    from fastconv.models.inspection.output import place, save_picture
    from fastconv.models.inspection.trained import open_run

    trained = open_run(run)
    path = place(trained, "curves.png", out)
    facts = trained.facts
    save_picture(curves_picture(read_log(trained.path), f"{facts.network} on {facts.dataset}"), path)
    _say(screen(), "curves", path)


def export(
    run: RunName,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="ONNX as the format, for onnxruntime and other programs.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write.", show_default="in the run's folder, or here for one that comes along"),
    ] = None,
) -> None:
    """Write RUN as a file that runs without this project; normalisation and classes are in its metadata."""
    if not onnx:
        raise ModelsError("export writes one format, and wants to be told: --onnx")
    from fastconv.models.inspection.onnx_export import to_onnx
    from fastconv.models.inspection.output import place, save
    from fastconv.models.inspection.trained import open_run

    trained = open_run(run)
    path = place(trained, "network.onnx", out)
    save(to_onnx(trained), path)
    _say(screen(), "ONNX", path)


def pack(
    run: RunName,
    out: Annotated[Path, typer.Option(help="Folder for the small run, empty or new.")],
) -> None:
    """Copy RUN into a small folder to give away: settings, epochs, and weights, in half precision if over 1 MB."""
    from fastconv.models.inspection.packing import pack
    from fastconv.models.inspection.trained import open_run

    sizes = pack(open_run(run), out)
    _say(screen(), ", ".join(f"{name} ({size:,} bytes)" for name, size in sizes.items()), out)


def _say(console: Console, what: str, path: Path) -> None:
    console.print(f"{what}: {path}", soft_wrap=True, highlight=False)
