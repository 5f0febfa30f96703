"""A contestant's own process: it prepares a problem, gives its result to be checked, and times bursts of calls.

Thread pools of two libraries in one process spin against each other, so each contestant lives alone; between its turns
it waits for a message and leaves the cores to the others.
"""

from __future__ import annotations

import gc
import os
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter
from typing import Any

from bench import contestants
from bench.arrays import operands
from bench.contestants import Call, NotOfferedError

THREAD_VARIABLES = (
    "FASTCONV_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def serve(pipe: Connection, name: str, threads: int) -> None:
    """Answer commands, each with ("done", value) or ("trouble", why).

    ("prepare", problem, operation) gives the arrays of the result and how it is come by, ("burst", seconds) a time.
    """
    keep_to(threads)
    contestant: Any = None
    call: Call = _nothing
    while True:
        command, *arguments = pipe.recv()
        if command == "stop":
            return
        try:
            if command == "prepare":
                contestant = contestant or contestants.make(name, threads)
                problem, operation = arguments
                call = contestant.prepare(problem, operation, operands(problem))
                gc.collect()
                pipe.send(("done", (contestant.arrays(call()), contestants.way(contestant, problem, operation))))
            else:
                pipe.send(("done", burst(call, *arguments)))
        except NotOfferedError as error:
            pipe.send(("trouble", str(error)))
        except Exception as error:  # another library may raise anything, and that is its result
            pipe.send(("trouble", trouble(error)))


def trouble(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def burst(call: Call, seconds: float) -> float:
    """The median time, in seconds, of the calls that fit in ``seconds``; one call before them wakes the threads up."""
    call()
    times: list[float] = []
    start = perf_counter()
    while not times or perf_counter() - start < seconds:
        before = perf_counter()
        call()
        times.append(perf_counter() - before)
    return median(times)


def keep_to(threads: int) -> None:
    """Stay on so many cores, the same for every contestant, for the libraries that take all they see."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _nothing() -> None:
    raise RuntimeError("nothing is prepared")
