"""A schedule is the learning rate as a function of how far a training is; it has no state to keep.

torch's schedulers are objects with the number of steps in their state, so that a run could not go on with more epochs;
and its one-cycle has a rate of 4e-6 of the peak in the last step, which is all of a training of one step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

WARM_UP = 0.3
"""The share of a one-cycle training in which the rate rises."""
COLD = 1 / 25
"""The rate at which one-cycle starts, as a part of its peak."""
DROPS = (0.5, 0.75)
"""Shares of a training after which ``step`` divides the rate by 10."""


def _constant(position: float) -> float:
    return 1.0


def _cosine(position: float) -> float:
    """Returns the factor of I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017,
    without restarts."""
    return (1 + math.cos(math.pi * position)) / 2


def _one_cycle(position: float) -> float:
    """Returns the factor of L. Smith, N. Topin, "Super-convergence: very fast training of neural networks", 2018.

    Both ways go along half a cosine, as has become usual, instead of straight lines.
    """
    if position < WARM_UP:
        return 1 - (1 - COLD) * _cosine(position / WARM_UP)
    return _cosine((position - WARM_UP) / (1 - WARM_UP))


def _step(position: float) -> float:
    """Returns the factor of K. He et al., "Deep residual learning for image recognition", 2016, section 4.2."""
    return 0.1 ** sum(position >= drop for drop in DROPS)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one-cycle": _one_cycle,
    "step": _step,
}


def factor(schedule: str, step: int, total: int) -> float:
    """Returns the factor of the learning rate in ``step`` (the first is 0) of ``total``; it is 1 at its highest.

    ``schedule`` is a key of SCHEDULES.
    """
    return SCHEDULES[schedule](step / total)
