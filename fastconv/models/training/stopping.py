"""Ctrl-C and SIGTERM are wishes to stop: the step under way is finished first, and the results are kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopWish:
    """Whether a signal asked this process to stop, and whether one asked any of those that train together.

    ``signal`` is its number, 0 while there was none. ``agreed`` is the same in all processes after the same step.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.agreed = False

    @property
    def here(self) -> bool:
        """Returns True if this process was asked to stop."""
        return self.signal != 0


@contextmanager
def stop_wish() -> Iterator[StopWish]:
    """Takes signals as wishes inside the block; the second Ctrl-C is a KeyboardInterrupt again.

    Outside the main thread, where signals don't arrive, nothing is changed.
    """
    wish = StopWish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        wish.signal = number
        signal.signal(signal.SIGINT, before[signal.SIGINT])

    for number in before:
        signal.signal(number, note)
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
