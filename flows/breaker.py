"""A circuit breaker: while a store fails, it is not asked."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

Circuit = Literal["closed", "open", "half-open"]
"""Calls pass, none does, or one is trying."""


NEARLY = 0.9
"""Of the time-out, when a client gave up at a deadline of its own that is the same."""


class BreakerSettings(msgspec.Struct, frozen=True):
    """Opens when ``share`` of the last ``calls`` calls (of at least ``least``) failed or took
    longer than ``timeout`` seconds; lets one call through again after ``recovery`` seconds."""

    share: float = 0.5
    calls: int = 6
    least: int = 4
    timeout: float = 5.0
    recovery: float = 30.0


class Breaker:
    """Safe to use from several threads. ``clock`` is monotonic seconds.

    A slow success counts as a failure: a store that takes so long holds up the others. A failure
    that took all its time, or came after a back-off, counts twice: everybody has waited for it. A
    pause of the whole process makes only the calls under way look slow, which are fewer than
    ``least``.
    """

    def __init__(
        self, settings: BreakerSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._results: deque[bool] = deque(maxlen=settings.calls)
        self._opened: float | None = None
        self._probing = False

    def admit(self) -> bool:
        """True when a call may be made; its result must then be reported."""
        with self._lock:
            if self._opened is None:
                return True
            if self._probing or self._clock() - self._opened < self._settings.recovery:
                return False
            self._probing = True
            return True

    def report(self, ok: bool, seconds: float, *, again: bool = False) -> None:
        """What became of a call; ``again``: everything in it had been tried before."""
        good = ok and seconds <= self._settings.timeout
        waited = not ok and (again or seconds >= NEARLY * self._settings.timeout)
        with self._lock:
            if self._probing:
                self._probing = False
                self._results.clear()
                self._opened = None if good else self._clock()
                return
            self._results.extend([good] * (2 if waited else 1))
            failed = self._results.count(False)
            enough = len(self._results) >= self._settings.least
            if enough and not good and failed >= self._settings.share * len(self._results):
                self._opened = self._clock()

    @property
    def closed(self) -> bool:
        """Whether calls pass freely."""
        with self._lock:
            return self._opened is None

    def forgo(self) -> None:
        """A call that was made says nothing of the store."""
        with self._lock:
            self._probing = False

    @property
    def state(self) -> Circuit:
        """See :data:`Circuit`."""
        with self._lock:
            if self._opened is None:
                return "closed"
            return "half-open" if self._probing else "open"
