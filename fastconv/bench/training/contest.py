"""The contest: for each network the contestants train an epoch, each in a process of its own, in turns of a second.

All see the same batches from the same initial weights, so their losses must agree: a contestant whose losses part from
torch's in the first steps is disqualified. Turns are long enough for a processor's clock and caches to settle, and
short enough for a disturbance to hit all alike.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

from fastconv.bench.process import THREAD_VARIABLES
from fastconv.bench.training import worker
from fastconv.bench.training.contestants import PLAIN
from fastconv.bench.training.results import Race
from fastconv.bench.training.worker import answer

TURN = 1.0
"""Seconds."""

COMPARED = 5
"""Steps whose losses must agree; later ones part by rounding that training has amplified."""

AGREEMENT = 1e-2
"""Relative difference of losses: two float32 trainings part by 1e-6 to 1e-4 in these steps, a wrong gradient by 1 to
100%."""


@dataclass(frozen=True)
class Rules:
    """Threads of each contestant, and the most seconds that each trains; an epoch that is not done then is reckoned."""

    threads: int
    seconds: float


def hold(
    networks: Sequence[str],
    names: Sequence[str],
    dataset: str,
    folder: Path | None,
    rules: Rules,
    tell: Callable[[str], None] = lambda what: None,
) -> Iterator[Race]:
    """A race for each network; ``tell`` hears of each turn."""
    for network in networks:
        tell(f"{network}: {', '.join(names)} get ready")
        with _started(network, names, rules.threads) as pipes:
            yield _race(network, dataset, folder, pipes, rules, tell)


def _race(
    network: str,
    dataset: str,
    folder: Path | None,
    pipes: dict[str, Connection],
    rules: Rules,
    tell: Callable[[str], None],
) -> Race:
    race = Race(network, 0, {}, {})
    for name, pipe in pipes.items():
        try:
            race.epoch_steps = answer(pipe, "prepare", network, dataset, folder)
            race.steps[name] = []
        except (RuntimeError, EOFError, OSError) as error:
            race.troubles[name] = str(error) or "its process ended"
    losses: dict[str, list[float]] = {name: [] for name in race.steps}
    while unfinished := [name for name in race.steps if not _is_done(race, name, rules)]:
        for name in unfinished:
            tell(f"{network}: {name}, {len(race.steps[name])} of {race.epoch_steps} steps")
            try:
                made = answer(pipes[name], "burst", TURN)
            except (RuntimeError, EOFError, OSError) as error:
                race.troubles[name] = str(error) or "its process ended"
                del race.steps[name]
                continue
            losses[name] += [loss for loss, _ in made]
            race.steps[name] += [seconds for _, seconds in made]
    for name in list(race.steps):
        if PLAIN in race.steps and (off := _disagreement(losses[name], losses[PLAIN])) > AGREEMENT:
            race.troubles[name] = f"WRONG: a loss is {off:.1%} off torch's in the first {COMPARED} steps"
            del race.steps[name]
    return race


def _is_done(race: Race, name: str, rules: Rules) -> bool:
    made = race.steps[name]
    return len(made) >= race.epoch_steps or sum(made) >= rules.seconds


def _disagreement(mine: list[float], theirs: list[float]) -> float:
    pairs = zip(mine[:COMPARED], theirs[:COMPARED], strict=False)
    return max(abs(one - other) / abs(other or 1.0) for one, other in pairs)


@contextmanager
def _started(network: str, names: Sequence[str], threads: int) -> Iterator[dict[str, Connection]]:
    """A process for each name, ready to train ``network``, ended with the block."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    try:
        for name in names:
            pipes[name], theirs = context.Pipe()
            process = context.Process(target=worker.serve, args=(theirs, name, threads), daemon=True)
            with mock.patch.dict(os.environ, dict.fromkeys(THREAD_VARIABLES, str(threads))):
                process.start()
            theirs.close()
            processes.append(process)
        yield pipes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(10)
