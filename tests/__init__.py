"""Before anything imports Numba: the backend `cuda` runs in its simulator, unless the environment says otherwise."""

import os

CHOSEN = "NUMBA_ENABLE_CUDASIM" in os.environ
"""Whether it says anything."""

os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")
