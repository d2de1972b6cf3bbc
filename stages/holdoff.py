"""When a service that failed may be asked again."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Final

from schemas.ports import Unavailable

PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds after so many failures in a row; the last one stays."""
LONGEST: Final = 300.0
"""Seconds: a service that asks for a longer pause is asked after this one all the same."""


class Holdoff:
    """Refuses calls at once while a service is known to be down. Safe from any thread."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._until = 0.0
        self._code = ""

    def check(self) -> None:
        """Raises Unavailable with the code of the last failure."""
        with self._lock:
            left = self._until - self._clock()
            if left > 0:
                raise Unavailable(self._what, self._code, left)

    @property
    def suspect(self) -> bool:
        """Whether the last call failed: the next one is a trial."""
        with self._lock:
            return self._failures > 0

    def failed(self, code: str, retry_after: float | None = None) -> Unavailable:
        """Counts a failure and answers what to raise; ``retry_after``: the pause it asked for."""
        with self._lock:
            pause = jittered(PAUSES[min(self._failures, len(PAUSES) - 1)])
            if retry_after is not None:
                pause = min(max(pause, retry_after), LONGEST)
            self._failures += 1
            self._until = self._clock() + pause
            self._code = code
        return Unavailable(self._what, code, pause)

    def worked(self) -> None:
        """It answers: nothing is held off any more."""
        with self._lock:
            self._failures, self._until = 0, 0.0


def jittered(seconds: float) -> float:
    """A fifth more or less, to spread retries in time; nothing is decided by it."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311
