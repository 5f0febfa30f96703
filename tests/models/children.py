"""Trainings in processes of their own, which start quickly: forked from one that has loaded all they need."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import sklearn.datasets  # noqa: F401 - to be loaded before the fork, as is what follows
import torch
import torch._dynamo

import fastconv.models.training.command  # noqa: F401
from fastconv.models import cli
from fastconv.models.cli import app

ROOT = Path(cli.__file__).parents[2]


def start(output: Path, *arguments: str, slow: float = 0.0, **environment: str) -> BaseProcess:
    """``fastconv models`` with these ``arguments``, on one thread, in the present folder; what it prints is in a file.

    Each time it makes sure of a file's being on disk it takes ``slow`` seconds more, before and after.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)  # for the process that all are forked from
    try:
        child = context.Process(target=_main, args=(output, arguments, os.getcwd(), slow, environment), daemon=True)
        child.start()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return child


def _main(output: Path, arguments: tuple[str, ...], folder: str, slow: float, environment: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    sys.stdout = sys.stderr = output.open("w", encoding="utf-8", buffering=1)
    torch.set_num_threads(1)
    fsync = os.fsync

    def slowly(file: int) -> None:
        time.sleep(slow)
        fsync(file)
        time.sleep(slow)

    os.fsync = slowly
    app(arguments, prog_name="fastconv models")
