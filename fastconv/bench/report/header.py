"""Where and when it was measured: what every report begins with."""

from __future__ import annotations

from fastconv.bench.report.cells import Cell, digits
from fastconv.bench.report.grid import Column, Grid
from fastconv.bench.results import Limit, Results

HARDWARE = ("processor", "instruction set", "cores", "threads", "GPU")
"""The entries of an environment that make the machine what it is, as far as speed goes."""

_SENTENCE = ("processor", "instruction set", "threads", "contestants", "commit", "date")
_FORMS = {"threads": "threads: {}", "commit": "commit {}"}
_BYTES = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))

LIMIT = (
    "The limit of a problem is the time that its arithmetic takes at the peak rate, or its bytes (each operand and "
    "result moved once) at the bandwidth measured for this size, whichever is longer. A result can pass 100% "
    "where data stays in a nearer cache than its size suggests, or the algorithm does less arithmetic than the "
    "definition. Each time is that of one call in the best burst; the spread says how far the median burst is above it."
)


def sentence(results: Results) -> str:
    """One line: the machine, versions, commit, date and peak, as far as the results tell."""
    known = {key: results.environment[key] for key in _SENTENCE if results.environment.get(key)}
    parts = [_FORMS.get(key, "{}").format(value) for key, value in known.items()]
    return " · ".join([*parts, f"peak {peak(results.limit)}"])


def particulars(results: Results) -> Grid:
    """A row for everything that is known of the run."""
    rows = [[Cell(key), Cell(value)] for key, value in results.environment.items()]
    rows.append([Cell("peak, float32 multiply-adds"), Cell(peak(results.limit))])
    rows.append([Cell("bandwidth, reading and writing"), Cell(bandwidths(results.limit))])
    return Grid([Column("what", number=False), Column("value", number=False)], rows)


def peak(limit: Limit) -> str:
    """The rate of arithmetic, with its unit."""
    return f"{digits(limit.flops / 1e9)} GFLOP/s"


def bandwidths(limit: Limit) -> str:
    """The rate of copying for every footprint measured."""
    return ", ".join(f"{digits(rate / 1e9)} GB/s ({size(nbytes)})" for nbytes, rate in sorted(limit.bandwidth.items()))


def size(nbytes: int) -> str:
    """So many bytes, in the unit that suits it."""
    unit, scale = next(((unit, scale) for unit, scale in _BYTES if nbytes >= scale), ("B", 1))
    return f"{nbytes / scale:g} {unit}"
