"""The share of rejected events in a window that slides over the last events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

LEAST = 100
SECONDS = 900.0


class RejectedWindow:
    """Counts over the last ``size`` events (and at most one chunk more) of the last ``seconds``.

    The share is one of ``LEAST`` events at least, so that the first bad event of a run is no alert;
    without new events, what was rejected goes out of the window with time. ``clock`` is monotonic
    seconds.
    """

    def __init__(
        self,
        size: int,
        limit: float,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size = size
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._chunks: deque[list[float]] = deque()
        self._events = self._rejected = 0

    def arrived(self, events: int) -> None:
        """So many events were read as one chunk."""
        now = self._clock()
        self._chunks.append([now, events, 0])
        self._events += events
        while self._events - self._chunks[0][1] >= self._size and len(self._chunks) > 1:
            self._drop()
        self._forget(now)

    def rejected(self, events: int) -> None:
        """So many events of the chunk that was read last were rejected."""
        if not self._chunks:
            self._chunks.append([self._clock(), 0, 0])
        self._chunks[-1][2] += events
        self._rejected += events

    @property
    def share(self) -> float:
        """From 0 to 1."""
        self._forget(self._clock())
        return min(1.0, self._rejected / max(self._events, min(LEAST, self._size)))

    @property
    def alert(self) -> bool:
        """Whether the share is over its limit."""
        return self.share > self._limit

    def _forget(self, now: float) -> None:
        while self._chunks and now - self._chunks[0][0] > self._seconds:
            self._drop()

    def _drop(self) -> None:
        _, events, rejected = self._chunks.popleft()
        self._events -= int(events)
        self._rejected -= int(rejected)
