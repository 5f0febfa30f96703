"""The learning rate's schedules: by torch's own where it has the same, else by their marks."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR

from fastconv.models.training.schedules import SCHEDULES, factor

TOTAL = 40


def of_torch(scheduler: LRScheduler) -> list[float]:
    rates = []
    for _ in range(TOTAL):
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def test_cosine_and_step_are_torchs() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    expected = of_torch(CosineAnnealingLR(optimizer, TOTAL))
    assert [factor("cosine", step, TOTAL) for step in range(TOTAL)] == pytest.approx(expected)
    optimizer.param_groups[0]["lr"] = 1.0
    expected = of_torch(MultiStepLR(optimizer, [TOTAL // 2, 3 * TOTAL // 4]))
    assert [factor("step", step, TOTAL) for step in range(TOTAL)] == pytest.approx(expected)


def test_one_cycle_rises_from_a_25th_and_falls() -> None:
    rates = [factor("one-cycle", step, TOTAL) for step in range(TOTAL)]
    top = int(0.3 * TOTAL)
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[top] == 1
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[top // 2] == pytest.approx((1 + 1 / 25) / 2)  # half way up
    assert 0 < rates[-1] < 0.01


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_step_learns(schedule: str) -> None:
    for total in (1, 2, 3, 1000):
        assert all(0 < factor(schedule, step, total) <= 1 for step in range(total))
    assert factor("constant", 7, 9) == 1
