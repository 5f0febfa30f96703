"""A layer is written as one line of text, which the commands take and print:

    N=8 C=64 H=56 K=128 R=3 stride=2x1 padding=1            a convolution
    pool=max N=8 C=64 H=112 R=3 stride=2 padding=1          a pooling, "max" or "avg"
    N=8 C=64 H=56 K=64 R=3 dtype=float64 op=weight          a convolution's weight gradient in float64

`FIELDS` has all fields. A pair is one number for both axes or HEIGHTxWIDTH, padding may have four sides,
TOPxBOTTOMxLEFTxRIGHT, and what follows a "#" is a comment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastconv.geometry import ConvGeometry, PoolGeometry

DTYPES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}
"""Data types that a layer may have, with the bytes of an element."""

LAYOUTS = ("contiguous", "channels_last")

OPERATIONS = {"conv": ("forward", "backward", "input", "weight"), "pool": ("forward", "backward")}
"""A convolution's result; its gradients for input, weight and bias at once; and each of the first two alone."""

_MOST = 2**31 - 1
"""Size limit of an axis."""

_MOST_BYTES = 2**62
"""Size limit of the arrays of a layer: NumPy has none of 2**63 bytes, and below that the machine's memory decides."""


class LayerError(ValueError):
    """A text that describes no layer; the message names the field, what it is, and what is allowed."""


@dataclass(frozen=True)
class Layer:
    """A layer has a kind, "conv", "max" or "avg", shapes, the kind of its arrays, and perhaps one operation."""

    kind: str
    geometry: ConvGeometry | PoolGeometry
    dtype: str = "float32"
    layout: str = "contiguous"
    operation: str | None = None
    """One of `OPERATIONS`, or None for all of them."""

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in fields(self).items())


def fields(layer: Layer) -> dict[str, str]:
    """Returns the fields of a layer's text, without those that have their defaults."""
    g = layer.geometry
    found = {"N": str(g.N), "C": str(g.C), "H": str(g.H)}
    found |= {"W": str(g.W)} if g.W != g.H else {}
    if isinstance(g, ConvGeometry):
        found |= {"K": str(g.K), **_kernel(g)}
        given = {"stride": _numbers(g.stride), "padding": _sides(g.padding), "dilation": _numbers(g.dilation)}
        given["groups"] = str(g.groups)
        usual = {"stride": "1", "padding": "0", "dilation": "1", "groups": "1"}
    else:
        found = {"pool": layer.kind, **found, **_kernel(g)}
        given = {"stride": _numbers(g.stride), "padding": _numbers(g.padding), "dilation": _numbers(g.dilation)}
        given |= {"ceil_mode": str(int(g.ceil_mode)), "count_include_pad": str(int(g.count_include_pad))}
        given["divisor_override"] = str(g.divisor_override)
        usual = {"stride": _numbers((g.R, g.S)), "padding": "0", "dilation": "1"}
        usual |= {"ceil_mode": "0", "count_include_pad": "1", "divisor_override": "None"}
    given |= {"dtype": layer.dtype, "layout": layer.layout, "op": str(layer.operation)}
    usual |= {"dtype": "float32", "layout": "contiguous", "op": "None"}
    return found | {name: value for name, value in given.items() if value != usual[name]}


def parse(text: str) -> Layer:
    """Returns the layer that a text describes.

    Raises:
        LayerError: a field is missing, unknown, given twice or impossible.
    """
    found: dict[str, Any] = {}
    for word in text.partition("#")[0].replace(", ", " ").split():
        name, sign, value = word.partition("=")
        if not sign:
            raise LayerError(f"{word!r} is no field with a value; write NAME=VALUE, such as N=8 or stride=2x1")
        if name not in FIELDS:
            raise LayerError(f"no field is called {name!r}; they are {', '.join(FIELDS)}")
        if name in found:
            raise LayerError(f"{name} is given twice")
        found[name] = FIELDS[name](name, value)
    pooling = "pool" in found
    needed = ("N", "C", "H", "R") if pooling else ("N", "C", "H", "K", "R")
    missing = [name for name in needed if name not in found]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise LayerError(f"{', '.join(missing)} {verb} missing; {', '.join(needed)} are needed")
    _check_kind(found)
    found = {"W": found["H"], "S": found["R"], "padding": (0, 0, 0, 0), "dilation": (1, 1), **found}
    geometry = _pool(found) if pooling else _conv(found)
    if 2 * geometry.bytes(8) > _MOST_BYTES:
        raise LayerError(f"its arrays have {2 * geometry.bytes(8):.0e} bytes; at most {_MOST_BYTES:.0e} can be had")
    how = found.get("dtype", "float32"), found.get("layout", "contiguous"), found.get("op")
    return Layer(found.get("pool", "conv"), geometry, *how)


def _number(name: str, value: str, least: int = 1) -> int:
    if not (value.isdecimal() and len(value) <= len(str(_MOST)) and least <= int(value) <= _MOST):
        raise LayerError(f"{name} is {value!r}, but must be a whole number from {least} to {_MOST}")
    return int(value)


def _list(name: str, value: str, least: int, counts: tuple[int, ...], example: str) -> tuple[int, ...]:
    parts = value.split("x")
    try:
        numbers = tuple(_number(name, part, least) for part in parts)
    except LayerError:
        numbers = ()
    if len(numbers) not in counts:
        allowed = f"a whole number from {least} to {_MOST}, or {example}"
        raise LayerError(f"{name} is {value!r}, but must be {allowed}")
    return numbers


def _pair(name: str, value: str) -> tuple[int, int]:
    numbers = _list(name, value, 1, (1, 2), "two of them, HEIGHTxWIDTH, such as 2x1")
    return numbers[0], numbers[-1]


def _padding(name: str, value: str) -> tuple[int, int, int, int]:
    numbers = _list(name, value, 0, (1, 2, 4), "HEIGHTxWIDTH, such as 0x3, or TOPxBOTTOMxLEFTxRIGHT, such as 0x1x0x1")
    if len(numbers) == 4:
        return numbers[0], numbers[1], numbers[2], numbers[3]
    return numbers[0], numbers[0], numbers[-1], numbers[-1]


def _one_of(*allowed: str) -> Callable[[str, str], str]:
    def read(name: str, value: str) -> str:
        if value not in allowed:
            raise LayerError(f"{name} is {value!r}, but must be {' or '.join(allowed)}")
        return value

    return read


def _flag(name: str, value: str) -> bool:
    return _one_of("0", "1")(name, value) == "1"


FIELDS: dict[str, Callable[[str, str], Any]] = {
    "pool": _one_of("max", "avg"),
    **dict.fromkeys(("N", "C", "H", "W", "K", "R", "S"), _number),
    "stride": _pair,
    "padding": _padding,
    "dilation": _pair,
    "groups": _number,
    "ceil_mode": _flag,
    "count_include_pad": _flag,
    "divisor_override": _number,
    "dtype": _one_of(*DTYPES),
    "layout": _one_of(*LAYOUTS),
    "op": _one_of(*OPERATIONS["conv"]),
}
"""The functions that read fields, by the fields' names."""

_OTHERS = {
    "conv": ("ceil_mode", "count_include_pad", "divisor_override"),
    "max": ("K", "groups", "count_include_pad", "divisor_override"),
    "avg": ("K", "groups", "dilation"),
}
"""The fields that a kind of layer doesn't have."""


def _check_kind(found: dict[str, Any]) -> None:
    """Raise LayerError for fields and operations that this kind of layer doesn't have."""
    kind = found.get("pool", "conv")
    of = "a convolution" if kind == "conv" else f"pool={kind}"
    strange = [name for name in _OTHERS[kind] if name in found]
    if strange:
        has = [name for name in FIELDS if name not in _OTHERS[kind] and not (kind == "conv" and name == "pool")]
        raise LayerError(f"{', '.join(strange)} is given, but {of} has {', '.join(has)}")
    operations = OPERATIONS["conv" if kind == "conv" else "pool"]
    if found.get("op", "forward") not in operations:
        raise LayerError(f"op is {found['op']!r}, but of {of} must be {' or '.join(operations)}")


def _check_fit(found: dict[str, Any]) -> None:
    """Raise LayerError for a kernel that is larger than the padded image."""
    top, bottom, left, right = found["padding"]
    for name, size, spread, around in zip("RS", "HW", found["dilation"], (top + bottom, left + right), strict=True):
        reach, image = spread * (found[name] - 1) + 1, found[size] + around
        if reach > image:
            given = f"{name} is {found[name]}, with which the kernel reaches over {reach} pixels"
            raise LayerError(f"{given}; {size} and padding allow {image}")


def _conv(found: dict[str, Any]) -> ConvGeometry:
    groups = found.get("groups", 1)
    for name in ("C", "K"):
        if found[name] % groups:
            raise LayerError(f"groups is {groups}, but must divide {name}, which is {found[name]}")
    _check_fit(found)
    N, C, H, W, K, R, S = (found[name] for name in "NCHWKRS")
    return ConvGeometry(N, C, H, W, K, R, S, found.get("stride", (1, 1)), found["padding"], found["dilation"], groups)


def _pool(found: dict[str, Any]) -> PoolGeometry:
    top, bottom, left, right = found["padding"]
    if (top, left) != (bottom, right):
        raise LayerError(f"padding is {_sides(found['padding'])}, but a pooling's must be the same on opposite sides")
    for name, around in (("R", top), ("S", left)):
        if around > found[name] // 2:
            raise LayerError(f"padding is {around}, but must be at most half of {name}, which is {found[name]}")
    _check_fit(found)
    return PoolGeometry(
        found["N"],
        found["C"],
        found["H"],
        found["W"],
        found["R"],
        found["S"],
        found.get("stride", (found["R"], found["S"])),
        (top, left),
        found["dilation"],
        found.get("ceil_mode", False),
        found.get("count_include_pad", True),
        found.get("divisor_override"),
    )


def _kernel(g: ConvGeometry | PoolGeometry) -> dict[str, str]:
    return {"R": str(g.R), **({"S": str(g.S)} if g.S != g.R else {})}


def _numbers(numbers: tuple[int, ...]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else "x".join(map(str, numbers))


def _sides(sides: tuple[int, int, int, int]) -> str:
    top, bottom, left, right = sides
    return _numbers((top, left)) if (top, left) == (bottom, right) else "x".join(map(str, sides))
