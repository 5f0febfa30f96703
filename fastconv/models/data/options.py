"""The options of the command line that choose the data: every command that reads images has the same ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastconv.models.data import DATASETS

DatasetName = Annotated[str, typer.Option("--dataset", help=f"Data set: {', '.join(DATASETS)}; see `list`.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        envvar="FASTCONV_DATA",
        help="Folder of the four IDX files, plain or gzipped, instead of the cache and the network; "
        "of the classes' folders for --dataset images.",
    ),
]


def given(ctx: typer.Context, data_dir: Path | None) -> tuple[Path | None, Path | None]:
    """Returns the folders that --data-dir and ``FASTCONV_DATA`` name; one of them at most."""
    source = ctx.get_parameter_source("data_dir")
    return (None, data_dir) if source is not None and source.name == "ENVIRONMENT" else (data_dir, None)


Size = Annotated[
    int | None,
    typer.Option(help="Side in pixels that images are scaled to, cut to squares first.", show_default="theirs"),
]
Channels = Annotated[
    int | None,
    typer.Option(
        help="Channels: 1 makes colour images grey, 3 repeats grey ones in three channels.", show_default="theirs"
    ),
]
