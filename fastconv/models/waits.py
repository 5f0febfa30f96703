"""Sets how long torch's own threads wait for work before they sleep."""

from __future__ import annotations

import os

SPINS = "2000"
"""Turns of the waiting loop, some 20 us."""
TORCHS_OWN = ("mlp",)
"""Networks of which torch computes every layer; to find that out by loading one would load torch."""


def short_waits(network: str | None, backend: str | None) -> dict[str, str]:
    """Returns the environment variables that let torch's threads sleep soon, if ``backend`` leaves torch little to do.

    They belong to GNU's OpenMP, and look for work for some 8 ms after each operation; between two layers that fastconv
    computes, that is on the cores which its threads want: a step of `inception` on two cores took 30 ms, and takes 26
    so. It must be said before torch is loaded. An environment that speaks of ``GOMP_SPINCOUNT`` or ``OMP_WAIT_POLICY``
    stays as it is, and torch that is to compute all layers itself waits as it likes: sleeping cost `mlp` 0.2 of 1.3 s.
    """
    said = "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ
    if said or network in TORCHS_OWN or (backend is not None and backend.startswith("torch")):
        return {}
    return {"GOMP_SPINCOUNT": SPINS}
