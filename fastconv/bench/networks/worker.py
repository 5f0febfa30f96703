"""A contestant's own process: it prepares a network, checks what that gives, and times bursts of calls."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

import fastconv
from fastconv.bench.devices.cpu import burst
from fastconv.bench.networks import contestants, passes
from fastconv.bench.networks.memory import Meter
from fastconv.bench.networks.passes import Material, Pass
from fastconv.bench.networks.zoo import Subject
from fastconv.bench.process import keep_to, trouble

MATERIAL = "material.pt"


def serve(pipe: Connection, name: str, threads: int) -> None:
    """Answer commands, each with ("done", value) or ("trouble", why).

    ("prepare", subject, mode, folder) gives the relative error and the bytes of a call, ("burst", seconds) a time.
    """
    keep_to(threads)
    torch.set_num_threads(threads)
    fastconv.set_num_threads(threads)
    prepared: Pass | None = None
    while True:
        command, *arguments = pipe.recv()
        if command == "stop":
            return
        try:
            if command == "prepare":
                prepared, found = _prepared(name, threads, *arguments)
                pipe.send(("done", found))
            else:
                assert prepared is not None
                pipe.send(("done", burst(prepared.call, *arguments)))
        except Exception as error:  # another library may raise anything, and that is its result
            pipe.send(("trouble", trouble(error)))


def _prepared(name: str, threads: int, subject: Subject, mode: str, folder: Path) -> tuple[Pass, tuple[float, Any]]:
    """Raises ValueError for a wrong result."""
    material = load(folder)
    meter = Meter()
    made = contestants.prepare(name, subject, mode, material, folder, threads, meter.begin)
    error, wrong = passes.fault(made.results(), material.expected, mode)
    if wrong:
        raise WrongResultError(wrong)
    return made, (error, meter.peak(made.call))


class WrongResultError(ValueError):
    """What a contestant computes differs from plain torch's."""


def save(material: Material, folder: Path) -> None:
    """Write what every contestant begins with."""
    torch.save(vars(material), folder / MATERIAL)


def load(folder: Path) -> Material:
    """What `save` wrote, read from disk where it is needed."""
    return Material(**torch.load(folder / MATERIAL, mmap=True))
