"""The time for one operation of several calls."""

from __future__ import annotations

import time

from schemas.ports import Unavailable


class Deadline:
    """What is left of some seconds from now on, for an operation on ``what``."""

    def __init__(self, what: str, seconds: float) -> None:
        self._what = what
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds, more than none. Raises Unavailable."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Unavailable(self._what, "timeout")
        return left
