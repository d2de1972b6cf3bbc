"""Writes that nobody waits for, kept readable in memory until they are committed, and after."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from concurrent.futures import Future
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Overlay(Generic[K, V]):
    """What was submitted by key: every write under way, and up to ``bound`` committed ones.

    The owner looks here first and in the table afterwards, and calls :meth:`settle` before it
    looks. Not safe for several threads by itself.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._values: dict[K, tuple[int, V]] = {}
        self._generation = 0
        self._pending: deque[tuple[Future[None], int, tuple[K, ...]]] = deque()
        self._settled: deque[tuple[int, tuple[K, ...]]] = deque()
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._values)

    def find(self, keys: Iterable[K]) -> tuple[dict[K, V], list[K]]:
        """What is known of the keys, and the keys of which nothing is known here."""
        known: dict[K, V] = {}
        missing: list[K] = []
        values = self._values
        for key in keys:
            entry = values.get(key)
            if entry is None:
                missing.append(key)
            else:
                known[key] = entry[1]
        return known, missing

    def put(self, entries: Mapping[K, V], future: Future[None]) -> None:
        """Remembers what was just submitted as one job."""
        self._generation = generation = self._generation + 1
        values = self._values
        for key, value in entries.items():
            values[key] = (generation, value)
        self._pending.append((future, generation, tuple(entries)))

    def remember(self, entries: Mapping[K, V]) -> None:
        """Keeps what was read from the table, as if it had been written and committed."""
        self._generation = generation = self._generation + 1
        for key, value in entries.items():
            self._values[key] = (generation, value)
        self._settled.append((generation, tuple(entries)))

    def settle(self) -> None:
        """Takes note of finished writes. Forgets those that failed and raises the first failure."""
        failure: BaseException | None = None
        while self._pending and self._pending[0][0].done():
            future, generation, keys = self._pending.popleft()
            if (error := future.exception()) is None:
                self._settled.append((generation, keys))
            else:
                self._drop(generation, keys)
                failure = failure or error
        while len(self._values) > self._bound and self._settled:
            self._drop(*self._settled.popleft())
        if failure is not None:
            self._failure = self._failure or failure
            raise failure

    def flush(self) -> None:
        """Waits for the writes under way. Raises the first failure since the last flush, also one
        that :meth:`settle` has raised: what was lost must be written again before all is well."""
        for future, _, _ in list(self._pending):
            future.exception()
        with contextlib.suppress(Exception):
            self.settle()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _drop(self, generation: int, keys: tuple[K, ...]) -> None:
        for key in keys:
            entry = self._values.get(key)
            if entry is not None and entry[0] == generation:
                del self._values[key]
