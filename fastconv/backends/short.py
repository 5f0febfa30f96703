"""A `Short` is a backend's program for one operation that takes microseconds, ready for calls that are known again."""

from __future__ import annotations

from typing import Any, NamedTuple

RESULT, INDICES, ABSENT = -1, -2, -3
"""Stand in the place of an argument's number for the result, for a second one, int64 and of the same shape, and for an
operand that isn't there."""


class Short(NamedTuple):
    """A short program, in a form that the backend's own table of known calls takes (`fastconv.known`)."""

    program: Any
    operands: tuple[Any, ...]
    """For each operand of the program, the number of its argument in a call, one of the above, or an array."""
