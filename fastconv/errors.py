"""The exceptions that fastconv raises, each of the type that torch raises in the same place.

A message names the argument, what was given and what is allowed.
"""

from __future__ import annotations

_LONGEST = 100
"""Most characters that a message quotes of what was given, which may be a whole array by mistake."""


class _ArgumentError(Exception):
    def __init__(self, argument: str, given: object, allowed: str) -> None:
        super().__init__(argument, given, allowed)  # these, not a text, so that copies and other processes can make it

    def __str__(self) -> str:
        argument, given, allowed = self.args
        shown = str(given)
        if len(shown) > _LONGEST:
            shown = f"{shown[:_LONGEST]}..."
        return f"{argument}: got {shown}, but {allowed}"


class ArgumentError(_ArgumentError, RuntimeError):
    """An argument whose value or shape is not allowed."""


class ArgumentTypeError(_ArgumentError, TypeError):
    """An argument of the wrong type or data type."""


class ArgumentValueError(_ArgumentError, ValueError):
    """An argument refused where torch raises ValueError."""


class UnknownBackendError(ValueError):
    """No backend has this name."""


class BackendUnavailableError(RuntimeError):
    """The backend exists but can't run here; the message says why and what to do."""


class UnsupportedError(NotImplementedError):
    """The backend can't do this operation on this problem; the message names both and a remedy."""


class DeviceError(RuntimeError):
    """A GPU or its driver failed; the message says what it was doing."""


class DeviceMemoryError(DeviceError, MemoryError):
    """The GPU's memory is exhausted; the message says how much was asked for."""

    def __init__(self, doing: str, size: int) -> None:
        super().__init__(doing, size)

    def __str__(self) -> str:
        doing, size = self.args
        return f"out of GPU memory: {size:,} bytes were asked for, {doing}; a smaller batch needs less"
