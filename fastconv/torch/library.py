"""Operators of torch.library, defined once a process although the modules behind them may be imported again.

Tools that load plugins anew and test runners drop a package's modules from `sys.modules`. torch refuses to define an
operator twice, and removing one would leave layers of the first import with a handle to nothing. So the definitions
stay, kept by torch's namespace, and compute by the functions of the latest import.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

_shared: dict[str, Any] = vars(torch.ops.fastconv)
_latest: dict[str, SimpleNamespace] = _shared.setdefault("_latest", {})
if "_library" not in _shared:
    _shared["_library"] = torch.library.Library("fastconv", "DEF")


def define(schema: str, kernel: Callable[..., Any], fake: Callable[..., Any], rule: Callable[[Any], Any]) -> Any:
    """Returns the operator that ``schema`` names, which computes by ``kernel``, and by ``fake`` without memory.

    ``rule`` makes the operator's rule for vmap.

    Raises:
        RuntimeError: this process has the operator with another schema, from another version of fastconv.
    """
    name = schema.partition("(")[0]
    if name in _latest:
        if _latest[name].schema != schema:
            raise RuntimeError(f"fastconv::{name}: another version of fastconv defined it in this process")
    else:
        _add(name, schema, rule)
    _latest[name].kernel, _latest[name].fake = kernel, fake
    return getattr(torch.ops.fastconv, name).default


def _add(name: str, schema: str, rule: Callable[[Any], Any]) -> None:
    library, latest = _shared["_library"], SimpleNamespace(schema=schema)

    def kernel(*arguments: Any) -> Any:
        return latest.kernel(*arguments)

    def fake(*arguments: Any) -> Any:
        return latest.fake(*arguments)

    library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    library.impl(name, kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"fastconv::{name}", fake, lib=library)
    operator = getattr(torch.ops.fastconv, name).default
    torch.library.register_vmap(f"fastconv::{name}", rule(operator), lib=library)
    _latest[name] = latest
