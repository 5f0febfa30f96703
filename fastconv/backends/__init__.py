"""The backends, one module each, behind the contract of `fastconv.backends.base`.

The package can be called: ``fastconv.backends()`` lists them, as `fastconv.registry.backends` does.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastconv.registry import BackendInfo


class _CallablePackage(ModuleType):
    """One name for the package and the function: a function of that name would hide the package's modules."""

    def __call__(self) -> tuple[BackendInfo, ...]:
        from fastconv.registry import backends

        return backends()


sys.modules[__name__].__class__ = _CallablePackage
