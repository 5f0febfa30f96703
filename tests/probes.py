"""Probes are tried at import: does another package's memory, or a private function of it, look as fastconv expects?

Where one fails, calls take a slower way, which gives the same results. ``FAILING_PROBES=1 make test`` has all of them
fail, so that every test goes that way.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar

import pytest

from fastconv import threads
from fastconv.backends.numba_cpu.calls import objects
from fastconv.backends.numba_cpu.runtime import addresses
from fastconv.torch import interface, internals, known, planning, team

FAIL = bool(os.environ.get("FAILING_PROBES"))
"""Whether all probes are to fail."""

T = TypeVar("T")

needs_fast_way = pytest.mark.skipif(FAIL, reason="failing probes close the way that it tests")
"""Marks a test of the fast way alone; the tests of whole files stand in FAST_WAYS."""

FAILED: tuple[tuple[Any, str, Any], ...] = (
    (addresses, "word", addresses.DIRECT),
    (objects, "probe", lambda: False),
    (interface, "tensor_interface", lambda: None),
    (known, "tensor_interface", lambda: None),
    (planning, "tensor_interface", lambda: None),
    (internals, "_CAUTIOUS", True),
    (team, "lend", lambda: None),
    (threads, "host_team", None),
)
"""Each probe as a module and the name of what it found, or of what looks, and its value where it fails."""

FAST_WAYS = (
    "tests/backends/numba_cpu/calls/",
    "tests/torch/test_internals.py",
    "tests/torch/test_known_calls.py",
    "tests/torch/test_known_poolings.py",
    "tests/torch/test_sequential.py",
    "tests/torch/test_team.py",
)
"""Tests of the ways that failing probes close: known calls, layers that run together, torch's own threads."""


def fail_all() -> None:
    """Has all probes fail, in this process from now on."""
    for module, name, value in FAILED:
        assert hasattr(module, name), f"{module.__name__} has no {name} any more"
        setattr(module, name, value)


def by_fast_way(count: T) -> T:
    """Returns what a test counts on the fast way: ``count``, or an empty value of its type where all probes fail.

    So a test of values and of the way they took compares the same values where the way is closed.
    """
    return type(count)() if FAIL else count
