"""``fastconv layers`` prints the report on a model that a function of the user's makes."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from fastconv.errors import ArgumentTypeError, ArgumentValueError
from fastconv.threads import set_num_threads
from fastconv.torch.report import report


def show_layers(
    source: str,
    shapes: Sequence[str],
    *,
    backend: str | None = None,
    threads: int | None = None,
    training: bool = False,
    json_file: str | None = None,
) -> None:
    """Print the report on a model, for random images.

    Args:
        source: "package.module:function"; the function takes no argument and returns the model. A model may stand in
            its place.
        shapes: of each of the model's arguments, as "2,3,112,112".
        backend: as for `report`.
        threads: of torch's and of fastconv's; None leaves both as they are.
        training: whether the model is put in training mode, else in evaluation mode.
        json_file: also written there, as JSON.

    Raises:
        ValueError, TypeError, RuntimeError: a source that gives no model, a shape that is none or doesn't fit.
        OSError: a file that can't be written; then nothing is measured.
    """
    sizes = [_size(shape) for shape in shapes]
    if json_file is not None:
        _check_writable(Path(json_file))
    if threads is not None:
        set_num_threads(threads)
        torch.set_num_threads(threads)
    model = load(source).train(training)
    found = report(model, tuple(torch.randn(size) for size in sizes), backend)
    print(found)
    if json_file is not None:
        Path(json_file).write_text(json.dumps(found.as_dict(), indent=1) + "\n")


def load(source: str) -> nn.Module:
    """Returns the model that "package.module:function" makes, or that stands in the function's place.

    The package may be in the working folder.

    Raises:
        ValueError: it isn't of this form, or can't be imported, or the function fails.
        TypeError: it returns something else.
    """
    package, _, name = source.partition(":")
    if not package or not name:
        raise ArgumentValueError("model", repr(source), "it must be package.module:function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # an installed command isn't given it, as `python -m` is
    try:
        found = importlib.import_module(package)
        for part in name.split("."):
            found = getattr(found, part)
        model = found() if callable(found) and not isinstance(found, nn.Module) else found
    except Exception as error:  # the user's code may raise anything
        raise ArgumentValueError("model", repr(source), f"it fails: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError("model", repr(source), f"it gives a {type(model).__name__}, not a torch.nn.Module")
    return model


def _check_writable(file: Path) -> None:
    """Refuse a file that can't be written, and leave the folder as it is."""
    is_new = not file.exists()
    with file.open("a"):
        pass
    if is_new:
        file.unlink()


def _size(text: str) -> tuple[int, ...]:
    try:
        size = tuple(int(part) for part in text.split(","))
    except ValueError:
        size = (-1,)
    if min(size) < 0:
        raise ArgumentValueError("input", repr(text), "it must be sizes, like 2,3,112,112")
    return size
