"""One step after another, whatever becomes of those before; what is found goes into one file at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from fastconv import machine
from fastconv.bench import contest, contestants
from fastconv.bench.child import ENVIRONMENT, Child, ChildError
from fastconv.bench.contestants import CUDA
from fastconv.bench.entrant import NOT_OFFERED
from fastconv.bench.environment import ROOT
from fastconv.bench.event import Rules
from fastconv.bench.gpu import problems, training
from fastconv.bench.gpu.targets import EPOCH
from fastconv.bench.problems import OPERATIONS
from fastconv.bench.report.header import bandwidths, peak
from fastconv.bench.results import Limit, Record, Results, load, save

SANITIZER = "compute-sanitizer"

HOW_TO_GET_IT = (
    f"{SANITIZER} is neither on PATH nor in /usr/local/cuda/bin. It comes with the CUDA toolkit "
    "(https://developer.nvidia.com/cuda-downloads), and alone as conda's package cuda-sanitizer-api"
)

PATIENCE = 600.0
"""Seconds that training may take."""


RULES = Rules(threads=machine.usable_cores(), seconds=0.01, patience=0.05)
"""A burst is of five laps of 2 ms, in which the GPU's events, good to 0.5 us, err by less than a thousandth."""


class StepError(Exception):
    """Why a step failed."""


class SkippedError(Exception):
    """Why a step can't be done here."""


@dataclass(frozen=True)
class Outcome:
    """How a step ended."""

    step: str
    state: str
    """ "passed", "failed" or "skipped"."""
    why: str
    seconds: float


def taken(step: str, work: Callable[[], None], console: Console) -> Outcome:
    """Do a step under its heading."""
    console.rule(Text(step, style="bold"))
    start = perf_counter()
    try:
        work()
        state, why = "passed", ""
    except SkippedError as error:
        state, why = "skipped", str(error)
    except (StepError, ChildError) as error:
        state, why = "failed", str(error)
    console.print(f"{state}{': ' if why else ''}{why}", highlight=False)
    return Outcome(step, state, why, perf_counter() - start)


def ended(outcomes: Sequence[Outcome]) -> Table:
    """How each step went."""
    table = Table("step", "ended", "after", title="Steps", title_justify="left")
    for outcome in outcomes:
        text = f"{outcome.state}: {outcome.why}" if outcome.why else outcome.state
        table.add_row(outcome.step, text, f"{outcome.seconds:.0f} s")
    return table


def tests() -> None:
    """Runs the tests that need a GPU, which a checkout has."""
    if not (ROOT / "tests" / "gpu").is_dir():
        raise SkippedError("the tests are in a checkout of fastconv, not in the installed package")
    _command([sys.executable, "-m", "pytest", "tests/gpu", "-q"])


def watched(tool: str) -> None:
    """The small cases under one tool of compute-sanitizer."""
    found = shutil.which(SANITIZER) or shutil.which(SANITIZER, path="/usr/local/cuda/bin")
    if found is None:
        raise SkippedError(HOW_TO_GET_IT)
    # Calls that torch makes to ask what the driver can do fail by design: they are no errors.
    options = ["--tool", tool, "--error-exitcode", "1", "--report-api-errors", "no"]
    program = [sys.executable, "-m", "fastconv.bench.gpu.small_cases"]
    # In memory of its own each tensor has an end that the tool can see.
    _command([found, *options, *program], PYTORCH_NO_CUDA_MEMORY_CACHING="1")


@dataclass
class Notebook:
    """A run's results, in a file from the first finding on."""

    path: Path
    results: Results

    @classmethod
    def opened(cls, path: Path, anew: bool) -> Notebook:
        """A new one; or, for single steps, the one that is there."""
        if path.exists() and not anew:
            return cls(path, load(path))
        return cls(path, Results({}, Limit(0.0, {}), []))

    def note(
        self,
        limit: Limit | None = None,
        environment: dict[str, str] | None = None,
        records: Sequence[Record] = (),
    ) -> None:
        """Add to the results what isn't None; a record takes the place of an older one."""
        old = self.results
        kept = {(r.problem, r.operation, r.contestant): r for r in (*old.records, *records)}
        self.results = Results({**old.environment, **(environment or {})}, limit or old.limit, list(kept.values()))
        save(self.results, self.path)


def measure_limits(notebook: Notebook, console: Console) -> None:
    """The card's limits, and what is to be known of the machine."""
    limit, environment = contest.surroundings([], RULES.threads, CUDA)
    notebook.note(limit, environment)
    console.print(f"peak {peak(limit)}; copying {bandwidths(limit)}", highlight=False)


def names(quick: bool) -> list[str]:
    """All contestants; where it must go quickly, without the single rungs of the ladder."""
    return [name for name, entry in contestants.entries(CUDA).items() if not (quick and entry.named)]


def hold_contest(notebook: Notebook, names: Sequence[str], rules: Rules, console: Console) -> None:
    """All events; raises StepError where a contestant was wrong or broke."""
    given = problems.contest()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    failed = 0
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task("", total=sum(len(problem.operations) for problem in given))

        def tell(what: str) -> None:
            progress.update(task, description=what)

        for _, found in groupby(contest.hold(given, OPERATIONS, names, rules, tell, CUDA), lambda each: each.key):
            records = list(found)
            notebook.note(records=records)
            progress.advance(task)
            for record in (each for each in records if each.trouble is not None):
                console.print(f"{record.problem} {record.operation} {record.contestant}: {record.trouble}")
                failed += not (record.trouble or "").startswith(NOT_OFFERED)
    if failed:
        raise StepError(f"{failed} of all contestants' events came to nothing")


def train(notebook: Notebook, console: Console) -> None:
    """An epoch of LeNet-5."""
    with Child() as child:
        seconds: dict[str, float] = child.ask(training.epoch, patience=PATIENCE)
    texts = {EPOCH.format(name): f"{found:.4f} s" for name, found in seconds.items()}
    notebook.note(environment=texts)
    for title, text in texts.items():
        console.print(f"{title}: {text}")


def _command(command: list[str], **environment: str) -> None:
    """A program's run, its words as they come."""
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **ENVIRONMENT, **environment}, check=False)
    if done.returncode:
        raise StepError(f"it ended with exit status {done.returncode}")
