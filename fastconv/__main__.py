"""The command ``fastconv``: backends, compiling ahead, a model's layers, the ladder, and programs of their own."""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fastconv import registry
from fastconv.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArgumentValueError,
    BackendUnavailableError,
    UnknownBackendError,
    UnsupportedError,
)

DESCRIPTION = "Fast convolution and pooling: this machine's backends, and programs that train, time and explain."
PROGRAMS = {
    "models": ("train", "networks that train on fastconv's layers: train, predict, show, compare, profile ..."),
    "bench": ("bench", "a contest of all backends and peers on tables of layers, networks and trainings"),
}
"""The programs with a command line of their own, the extra that brings what each needs, and what it is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, or 2 for a wrong argument."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in PROGRAMS:
        return _run_program(words[0], words[1:])
    parser = argparse.ArgumentParser(prog="fastconv", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    info = commands.add_parser("info", help="show the machine, the packages, and each backend's state")
    info.set_defaults(run=lambda _: show_info())
    warm = commands.add_parser("warmup", help="compile the kernels now and keep them for later processes")
    warm.add_argument("--backend", help="backend to compile (default: every backend that can run here)")
    warm.add_argument("--bundle", action="store_true", help="kernels for other processors too, kept in the package")
    warm.set_defaults(run=lambda options: make_bundles() if options.bundle else warm_up(options.backend))
    explain = commands.add_parser("explain", help="show how a convolution is computed, and why by this algorithm")
    explain.add_argument("layer", help="fields, as 'N=8 C=64 H=56 K=64 R=3 stride=2x1 padding=1 op=input'")
    explain.add_argument("--backend", help="backend, or algorithm as numba:direct (default: the current choice)")
    explain.add_argument("--measure", action="store_true", help="measurement beside the prediction")
    explain.set_defaults(run=show_explanation)
    layers = commands.add_parser("layers", help="time a torch model's layers in torch and in fastconv")
    layers.add_argument("model", metavar="PACKAGE:FUNCTION", help="function, or class, that returns the model")
    layers.add_argument(
        "--input",
        required=True,
        action="append",
        metavar="SIZES",
        help="sizes of an input, as 2,3,112,112; once for each argument",
    )
    layers.add_argument("--backend", help="backend of fastconv's (default: the current choice)")
    layers.add_argument("--threads", type=int, help="threads of torch's and of fastconv's (default: each its own)")
    layers.add_argument("--training", action="store_true", help="training mode, with the backward pass")
    layers.add_argument("--json", metavar="FILE", help="file that the report is written to, too")
    layers.set_defaults(run=show_layers)
    _add_ladder(commands.add_parser("ladder", help="time small convolutions, from loops in Python to the peak"))
    for name, (_, summary) in PROGRAMS.items():
        commands.add_parser(name, help=summary)
    options = parser.parse_args(words)
    # What the terminal's encoding lacks is printed as an escape.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone, as `head` does; the interpreter must not flush into the pipe once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (
        UnknownBackendError,
        BackendUnavailableError,
        UnsupportedError,
        ArgumentError,
        ArgumentTypeError,
        ArgumentValueError,
        OSError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run_program(name: str, words: list[str]) -> int:
    """Run a program that has packages and a command line of its own; typer, which reads it, ends the process."""
    from fastconv.models.interrupts import end_while_loading

    end_while_loading()
    try:
        if name == "models":
            from fastconv.models.cli import app
        else:
            from fastconv.bench.cli import app
        app(words, prog_name=f"fastconv {name}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "fastconv":
            raise
        extra, _ = PROGRAMS[name]
        print(f"error: {name} needs {missing}: pip install 'fastconv[{extra}]'", file=sys.stderr)
        return 2
    return 0


def _add_ladder(ladder: argparse.ArgumentParser) -> None:
    """Give the parser of ``ladder`` its options."""
    # The package of the command isn't loaded for this: it takes a second.
    ladder.description = "Each rung is verified against float64 and timed on one thread (10 on all), fastest call."
    fields = "fields as in the default, '%(default)s'; also W, S, stride=2x1, dilation, groups"
    ladder.add_argument("--layer", default="N=8 C=64 H=56 K=64 R=3 padding=1", help=fields)
    ladder.add_argument("--threads", type=int, help="threads of rung 10 (default: one a core)")
    ladder.add_argument("--rung", action="append", help="number of a rung, the only one to time; repeatable")
    ladder.add_argument("--asm", action="store_true", help="machine code of the rung, in place of times")
    ladder.add_argument("--tiles", action="store_true", help="shapes of rung 06's tile, compared in a further minute")
    ladder.add_argument("--seconds", type=float, default=0.6, help="seconds that each rung is repeated (%(default)s)")
    ladder.add_argument("--out", default="ladder-out", help="folder for results and pictures (%(default)s)")
    ladder.set_defaults(run=show_ladder)


def show_ladder(options: argparse.Namespace) -> None:
    """Measure the rungs, or show the machine code of some."""
    from fastconv.ladder.command.run import keep, run, show_code

    if options.asm:
        show_code(options.layer, options.rung)
        return
    found = run(options.layer, options.threads, options.rung, seconds=options.seconds, tiles=options.tiles)
    keep(found, Path(options.out))


def show_info() -> None:
    """Print the machine, the packages and the table of backends."""
    from fastconv import machine

    chosen = registry.resolve().name
    _print_table(list(machine.describe().items()))
    print()
    rows = [("backend", "state", "what it is")]
    for backend in registry.backends():
        name = f"{backend.name} *" if backend.name == chosen else backend.name
        state = "available" if backend.available else "unavailable"
        rows.append((name, state, backend.summary if backend.available else backend.reason or ""))
    _print_table(rows)
    print("\n* the current choice; change it with backend=, use_backend, set_backend or FASTCONV_BACKEND")


def make_bundles() -> None:
    """Make the bundles of kernels that a wheel brings along."""
    from fastconv import bundle

    bundle.make_bundles()


def show_explanation(options: argparse.Namespace) -> None:
    """Print the explanations of a layer."""
    from fastconv.explaining import explain_layer

    print(*explain_layer(options.layer, options.backend, options.measure), sep="\n")


def warm_up(name: str | None) -> None:
    """Compile one backend's kernels, or those of all that can run here, and print how long each took."""
    names = [name] if name else [backend.name for backend in registry.backends() if backend.available]
    for each in names:
        backend = registry.resolve(each)
        print(f"{each:10}", end=" ", flush=True)
        start = time.perf_counter()
        backend.warmup()
        print(f"{time.perf_counter() - start:6.2f} s")


def show_layers(options: argparse.Namespace) -> None:
    """Print the report on a torch model."""
    if importlib.util.find_spec("torch") is None:
        raise ArgumentValueError("layers", "no torch", "it needs torch: pip install 'fastconv[torch]'")
    from fastconv.torch import command

    command.show_layers(
        options.model,
        options.input,
        backend=options.backend,
        threads=options.threads,
        training=options.training,
        json_file=options.json,
    )


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
