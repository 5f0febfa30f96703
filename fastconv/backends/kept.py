"""`Kept` is a cache bounded in bytes, for objects that are made once for a layer and an image size.

A number of entries is no bound: a plan of 512 channels has tables of 40 KB, one of three has 1 KB, and a network of 200
layers at four image sizes has 2,400 plans. Here entries are in two generations. An entry that is used is in the young
one; when that holds half of all bytes, it becomes the old one, and entries that were old and have not been used since
are forgotten. To find an entry takes a single dictionary lookup, as with `functools.lru_cache`, and no order has to
be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class Kept(Generic[V]):
    """This is a function whose latest results are kept, at most ``most_bytes`` of them; results are never None."""

    def __init__(self, make: Callable[..., V], size: Callable[[V], int], most_bytes: int) -> None:
        """Keep results of ``make``; ``size`` returns the bytes that a result takes."""
        self.most_bytes = most_bytes
        self._make, self._size = make, size
        self._young: dict[Hashable, V] = {}
        self._old: dict[Hashable, V] = {}
        self._sizes = [0, 0]

    def __call__(self, *key: Any) -> V:
        """Returns the result for these arguments, which must be hashable."""
        found = self._young.get(key)
        return self._fetch(key) if found is None else found

    def _fetch(self, key: tuple[Any, ...]) -> V:
        # Without a lock: two threads may make the same result, and then one of them is forgotten.
        found = self._old.get(key)
        if found is None:
            found = self._make(*key)
        size = self._size(found)
        if self._young and self._sizes[0] + size > self.most_bytes // 2:
            self._young, self._old = {}, self._young
            self._sizes = [0, self._sizes[0]]
        self._young[key] = found
        self._sizes[0] += size
        return found

    @property
    def kept_bytes(self) -> int:
        """Returns the size of all results that are kept, in bytes."""
        return sum(self._sizes)

    def cache_clear(self) -> None:
        """Forget all results; `functools.lru_cache` has a method of this name too."""
        self._young, self._old, self._sizes = {}, {}, [0, 0]
