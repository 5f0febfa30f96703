"""The target is the processor that kernels are compiled for: this machine's, or the one that the environment names.

``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` choose it, as for Numba's own functions.
"""

from __future__ import annotations

import os
from functools import cache

import llvmlite.binding as llvm


def features() -> dict[str, bool]:
    """Return the features that the target has or lacks, under LLVM's names."""
    named = os.environ.get("NUMBA_CPU_FEATURES")
    if named is None and os.environ.get("NUMBA_CPU_NAME") == "generic":
        named = ""
    if named is None:
        return dict(llvm.get_host_cpu_features())
    return {feature[1:]: feature[0] == "+" for feature in named.split(",") if feature}


@cache
def target() -> str:
    """Return a text that differs between processors, and versions of LLVM, that code is compiled differently for."""
    processor = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    has = ",".join(sorted(name for name, there in features().items() if there))
    return f"{llvm.get_default_triple()} {processor} {has} LLVM {llvm.llvm_version_info}"
