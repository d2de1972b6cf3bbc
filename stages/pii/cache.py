"""A bounded map that forgets what was not used for long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Generations(Generic[K, V]):
    """Two generations of entries, each of at most half of ``limit`` in weight.

    A full young generation becomes the old one, and the old one is forgotten; a hit in the old one
    moves the entry to the young one. So an entry lives for at least half of ``limit`` after its
    last use, which is close to least-recently-used at the price of one dict lookup. An entry
    heavier than half of ``limit`` is not kept.
    """

    def __init__(self, limit: int, weigh: Callable[[V], int] | None = None) -> None:
        self._half = limit // 2
        self._weigh = weigh
        self._weight = 0
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self.young: Callable[[K], V | None] = self._young.get
        """The young generation alone, for hot paths: fast, and misses what :meth:`get` finds."""

    def get(self, key: K) -> V | None:
        found = self._young.get(key)
        if found is None and self._old:
            found = self._old.pop(key, None)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        weight = 1 if self._weigh is None else self._weigh(value)
        if weight > self._half:
            return
        if self._weight + weight > self._half:
            self._old, self._weight = self._young.copy(), 0
            self._young.clear()
        self._young[key] = value
        self._weight += weight

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
