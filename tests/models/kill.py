"""Kill trainings at random moments, go on with them, and compare with one that was left alone.

python -m tests.models.kill 20 [SEED]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.models.children import start
from tests.models.runs import kept

TRAIN = ("train", "lenet5", "--backend", "torch", "--dataset", "digits", "--epochs", "3", "--batch-size", "400")
TRAIN += ("--threads", "1", "--validation", "0.1", "--schedule", "cosine", "--shift", "1")
SLOW = 0.05
"""Seconds that writing a file takes more: about half of a training is writing then."""


def kill_and_compare(folder: Path, times: int, seed: int) -> Iterator[str]:
    """Say what was found each time: when the training was killed, and again when it went on; what it left.

    Raises AssertionError for the first that isn't in the end as if it had been left alone.
    """
    random = Random(seed)
    start(folder / "first.txt", "list").join()  # whose start takes longer
    began = time.monotonic()
    whole = start(folder / "whole.txt", *TRAIN, "--run-dir", str(folder / "whole"), slow=SLOW)
    whole.join()
    lasts = time.monotonic() - began
    assert whole.exitcode == 0, (folder / "whole.txt").read_text()
    expected = kept(folder / "whole")
    for number in range(times):
        run, output = folder / f"run{number}", folder / f"run{number}.txt"
        found = []
        for _ in range(2):
            after = random.uniform(0, lasts)
            found.append(f"killed after {after:.3f} of {lasts:.3f} s, leaving {_killed(run, output, after)}")
        last = start(output, *_words(run))
        last.join()
        assert last.exitcode == 0, output.read_text()
        there = kept(run)
        assert there.keys() == expected.keys(), f"{sorted(there)}: {found}"
        for name, content in expected.items():
            assert there[name] == content, f"{name} differs: {found}"
        yield "; ".join(found)


def _killed(run: Path, output: Path, after: float) -> str:
    """The files that a training left that was killed ``after`` some seconds."""
    child = start(output, *_words(run), slow=SLOW)
    child.join(after)
    child.kill()
    child.join()
    assert child.exitcode in (0, -9), output.read_text()
    return " ".join(sorted(file.name for file in run.iterdir())) if run.exists() else "no folder"


def _words(run: Path) -> tuple[str, ...]:
    """To go on with it, or to begin if it never was one."""
    return ("train", "--resume", str(run)) if (run / "config.json").exists() else (*TRAIN, "--run-dir", str(run))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for line in kill_and_compare(Path(name), int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0):
            print(line, flush=True)
