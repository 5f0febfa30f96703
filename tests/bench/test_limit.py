"""The machine's limits: the loop does what it counts, and the floor is the later of arithmetic and memory."""

from __future__ import annotations

import pytest

from fastconv import cpu_limits
from fastconv.bench.results import Limit


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_the_loop_multiplies_and_adds_on_all_chains(lanes: int) -> None:
    """Each chain goes towards acc = 0.5 * acc + 0.5, whose fixed point is 1: the sum over chains is their number."""
    loop, flops = cpu_limits.multiply_add_loop(lanes)
    chains = flops // (2 * lanes)
    assert chains >= 8
    assert loop(200) == pytest.approx(chains)
    starts = [0.5 * (number + 1) for number in range(chains)]
    assert loop(1) == pytest.approx(sum(0.5 * start + 0.5 for start in starts))


def test_rates_are_of_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_limits, "SECONDS", 0.02)
    monkeypatch.setattr(cpu_limits, "ROUNDS", 1)
    assert cpu_limits.peak_flops(1) > 1e8
    assert cpu_limits.copy_bandwidth(2, 2**16) > 1e7


def test_floor() -> None:
    machine = Limit(flops=100.0, bandwidth={10: 50.0, 1000: 5.0})
    assert machine.bytes_per_second(8) == 50.0
    assert machine.bytes_per_second(11) == 5.0
    assert machine.bytes_per_second(10**6) == 5.0
    assert machine.floor(flops=200, nbytes=10) == 2.0
    assert machine.floor(flops=1, nbytes=100) == 20.0
