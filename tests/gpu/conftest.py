"""The backend `cuda` on a real GPU: ``NUMBA_ENABLE_CUDASIM=0 pytest tests/gpu``, or ``make gpu`` for all there is.

In the simulator, where the processor's tensors stand in for the GPU's, only what is marked ``small`` is selected, so
that these tests themselves are known to work.
"""

from __future__ import annotations

import pytest
import torch

from fastconv.backends.numba_cuda.places import HOME
from fastconv.backends.numba_cuda.target import SIMULATED

DEVICE = torch.device(HOME)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    large = [item for item in items if "tests/gpu/" in item.nodeid and not item.get_closest_marker("small")]
    if SIMULATED and large:
        config.hook.pytest_deselected(items=large)
        items[:] = [item for item in items if item not in set(large)]


@pytest.fixture(autouse=True, scope="session")
def exact_multiplications() -> None:
    """torch in float32 proper: what is compared is not TF32 unless a test says so."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
