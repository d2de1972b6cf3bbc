"""``Retry-After``: no call goes to a server before the moment that it named."""

from __future__ import annotations

import time
from collections.abc import Callable

from schemas.ports import Unavailable

LONGEST = 60.0
"""Seconds; a server that names more is asked again after these."""


class Holdoff:
    """The moment before which a server does not want to be asked. Safe from any thread."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._until = 0.0
        self._code = ""

    def hold(self, retry_after: str | None, code: str) -> None:
        """Takes note of a ``Retry-After`` header in seconds; anything else is no note."""
        try:
            seconds = float(retry_after or "")
        except ValueError:
            return
        if seconds > 0:
            self._code = code
            self._until = self._clock() + min(seconds, LONGEST)

    @property
    def left(self) -> float | None:
        """Seconds that are left, None if none."""
        left = self._until - self._clock()
        return left if left > 0 else None

    def check(self) -> None:
        """Raises Unavailable, with the code noted, while it is too early."""
        if (left := self.left) is not None:
            raise Unavailable(self._what, self._code, left)
