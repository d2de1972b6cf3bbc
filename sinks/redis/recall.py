"""What was told to the server last, to be told again where it has forgotten it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sinks.redis.server import Script

SECONDS = 3.0
"""With ``appendfsync everysec`` a crash loses up to two seconds."""
MOST_BYTES = 64 << 20


class Told(NamedTuple):
    """A call that added rows. ``met``: the ids of what its answer brought together."""

    at: float
    script: Script
    arguments: Sequence[Any]
    met: frozenset[str]
    size: int


class Recall:
    """The calls of the last :data:`SECONDS`, within a bound. Safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls: deque[Told] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def note(self, script: Script, arguments: Sequence[Any], met: frozenset[str]) -> None:
        """A call that was answered."""
        size = sum(len(part) for part in arguments if isinstance(part, bytes))
        now = self._clock()
        with self._lock:
            self._calls.append(Told(now, script, arguments, met, size))
            self._bytes += size
            while self._calls and (self._calls[0].at < now - SECONDS or self._bytes > MOST_BYTES):
                self._bytes -= self._calls.popleft().size

    def recent(self) -> list[Told]:
        """From the oldest on."""
        with self._lock:
            return list(self._calls)
