"""How long a network takes from loaded data to a trained and tested network: a new process for each seed.

The clock starts when libraries and images are in memory and stops when the test images have been recognised: making
the network, loading compiled kernels from their cache, all steps and the test are in it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from rich.console import Console

from fastconv.bench.process import keep_to
from fastconv.bench.training import files

FORMAT = "record 1"


@dataclass(frozen=True)
class Attempt:
    """One training: its seed, its seconds, and the share of the test images, 0..1, that it recognised."""

    network: str
    backend: str
    seed: int
    seconds: float
    accuracy: float


def attempts(
    network: str, backend: str, seeds: int, dataset: str, folder: Path | None, threads: int
) -> Iterator[Attempt]:
    """Yields attempts with the seeds 0, 1, ..., in turn. Raises ModelsError as `fastconv.models.training.settings`."""
    context = multiprocessing.get_context("spawn")
    for seed in range(seeds):
        with context.Pool(1) as process:
            yield process.apply(attempt, (network, backend, seed, dataset, folder, threads))


def attempt(network: str, backend: str, seed: int, dataset: str, folder: Path | None, threads: int) -> Attempt:
    """In this process, on this number of cores."""
    keep_to(threads)
    import torch

    from fastconv.models.data import load
    from fastconv.models.training.batches import Batches
    from fastconv.models.training.loop import begin, epoch_steps, score
    from fastconv.models.training.settings import settings

    torch.optim.SGD([torch.zeros(1)], 0.1)  # the first optimiser imports torch's compiler, which takes 0.9 s
    chosen = settings(network, backend, seed, threads)
    data = load(dataset, folder, Console(quiet=True))
    start = perf_counter()
    training = begin(chosen, data.shape, len(data.classes))
    batches = Batches(chosen, data)
    for epoch in range(1, chosen.recipe.epochs + 1):
        for _ in epoch_steps(training, batches, epoch):
            pass
    accuracy, _ = score(training.model, data.test_images, data.test_labels)
    return Attempt(network, chosen.backend, seed, perf_counter() - start, accuracy)


def sentence(made: list[Attempt]) -> str:
    """The attempts in a line."""
    times, shares = sorted(one.seconds for one in made), sorted(one.accuracy for one in made)
    return (
        f"`{made[0].network}` on {made[0].backend}, from loaded data to tested network, {len(made)} seeds: "
        f"{median(shares):.2%} of the test images ({shares[0]:.2%} to {shares[-1]:.2%}) "
        f"in {median(times):.1f} s ({times[0]:.1f} to {times[-1]:.1f})."
    )


def save(made: list[Attempt], path: Path) -> None:
    """Write a file, all of it or nothing."""
    files.write(path, FORMAT, {"attempts": [asdict(one) for one in made]})


def load(path: Path) -> list[Attempt]:
    """Read a file; raises ResultsError for no such file, or one of another kind."""
    return files.read(path, FORMAT, lambda content: [Attempt(**one) for one in content["attempts"]])
